//! What the server takes from the command line.

use core::fmt;

use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use crate::cmdline;

/// `ip=ADDRESS/PREFIX`, `port=N`, `gateway=ADDRESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Address and network, 10.77.0.2/24 if not given.
    pub address: Ipv4Cidr,
    /// TCP port, 6379 if not given.
    pub port: u16,
    /// The way out of the network, if there is one.
    pub gateway: Option<Ipv4Address>,
}

/// A word of the command line that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationError<'a> {
    name: &'static str,
    value: &'a str,
}

impl fmt::Display for ConfigurationError<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "cannot use {}={}", self.name, self.value)
    }
}

/// As clients name the server: ADDRESS:PORT.
impl fmt::Display for Configuration {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}:{}", self.address.address(), self.port)
    }
}

impl Configuration {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// The first word whose value is not of its kind.
    pub fn parse(command_line: &str) -> Result<Self, ConfigurationError<'_>> {
        let word = |name, default| {
            let value = cmdline::value(command_line, name).unwrap_or(default);
            (value, ConfigurationError { name, value })
        };
        let (address, error) = word("ip", "10.77.0.2/24");
        let address: Ipv4Cidr = address.parse().map_err(|()| error)?;
        let (port, error) = word("port", "6379");
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(error)?;
        let (gateway, error) = word("gateway", "");
        let gateway = if gateway.is_empty() { None } else { Some(gateway.parse().map_err(|_| error)?) };
        Ok(Self { address, port, gateway })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_defaults() {
        let configuration = Configuration::parse("console=ttyS0").unwrap();
        assert_eq!(configuration.address, Ipv4Cidr::new(Ipv4Address::new(10, 77, 0, 2), 24));
        assert_eq!((configuration.port, configuration.gateway), (6379, None));
        assert_eq!(configuration.to_string(), "10.77.0.2:6379");
    }

    #[test]
    fn takes_what_is_given() {
        let configuration = Configuration::parse("ip=192.168.1.9/16 port=7 gateway=192.168.0.1").unwrap();
        assert_eq!(configuration.address, Ipv4Cidr::new(Ipv4Address::new(192, 168, 1, 9), 16));
        assert_eq!((configuration.port, configuration.gateway), (7, Some(Ipv4Address::new(192, 168, 0, 1))));
    }

    #[test]
    fn names_what_it_cannot_use() {
        for line in ["ip=10.0.0.1", "ip=10.0.0.1/33", "port=0", "port=65536", "gateway=x"] {
            assert_eq!(Configuration::parse(line).unwrap_err().to_string(), format!("cannot use {line}"));
        }
    }
}
