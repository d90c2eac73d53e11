//! Where a peer is, as operators write it: HOST:PORT.

/// Takes the address of a peer: a name, an IPv4 address, or an IPv6 address in brackets; and a port, which is not 0.
///
/// # Errors
/// What is wrong with it.
pub fn peer_address(text: &str) -> Result<String, String> {
    match port_of(text)? {
        0 => Err(format!("'{text}' has port 0, where nobody can listen")),
        _ => Ok(text.to_owned()),
    }
}

/// Takes an address to listen at: as [`peer_address`], but port 0 stands for any that is free.
///
/// # Errors
/// What is wrong with it.
pub fn listen_address(text: &str) -> Result<String, String> {
    port_of(text).map(|_| text.to_owned())
}

fn port_of(text: &str) -> Result<u16, String> {
    let bad = |what: &str| {
        format!("'{text}' {what}; HOST:PORT is expected, such as 10.9.0.2:7000 or [fd00::2]:7000")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("has no host or no port"))?;
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':')),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    match name {
        None => return Err(bad("has an IPv6 address that is not in brackets")),
        Some("") => return Err(bad("has no host")),
        Some(name) if name.contains(|letter: char| letter.is_whitespace() || "/@[]".contains(letter)) => {
            return Err(bad("has a host that is no name"));
        }
        Some(_) => {}
    }
    // A sign would be taken by the number's parser.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| digits).ok_or_else(|| bad("has a port that is none of 0 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_host_and_a_port() {
        for good in ["host-b:7000", "10.9.0.2:1", "[fd00::2]:65535", "b.example.org:80"] {
            assert_eq!(peer_address(good).as_deref(), Ok(good));
        }
        for (bad, reason) in [
            ("7000", "no host or no port"),
            ("", "no host or no port"),
            (":7000", "no host"),
            ("host", "no host or no port"),
            ("host:", "a port"),
            ("host:+80", "a port"),
            ("host:70000", "a port"),
            ("fd00::2:7000", "brackets"),
            ("[]:7000", "brackets"),
            ("a b:7000", "no name"),
            ("http://b:7000", "brackets"),
            ("host:0", "port 0"),
        ] {
            let error = peer_address(bad).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn any_port_will_do_to_listen_at() {
        assert!(listen_address("127.0.0.1:0").is_ok());
        assert!(listen_address(":7000").is_err());
        assert!(listen_address("7000").is_err());
    }
}
