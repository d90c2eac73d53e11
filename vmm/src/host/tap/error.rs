//! Why a TAP device cannot be used, in words that say what to do.

use std::io;

/// Why a TAP device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name is too long for an interface.
    #[error("'{0}' is no interface name: 1 to 15 bytes")]
    Name(String),
    /// There is no interface of that name. None is made: it would be down and on no bridge.
    #[error("there is no TAP device '{0}' here; make it with: ip tuntap add dev {0} mode tap")]
    Missing(String),
    /// The kernel does not say whether there is one.
    #[error("cannot look for TAP device '{name}': {source}")]
    Look {
        /// The interface.
        name: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// `/dev/net/tun` is missing or not accessible.
    #[error("cannot open /dev/net/tun: {0}; load the tun module and run as root or with CAP_NET_ADMIN")]
    Open(io::Error),
    /// Another process has it.
    #[error("TAP device '{0}' is in use by another process")]
    Busy(String),
    /// It is another user's, or a group's that this process is not in.
    #[error(
        "TAP device '{0}' belongs to another user or group; make it with: ip tuntap add dev {0} mode tap user YOU, or run as \
         root"
    )]
    Owner(String),
    /// It is another kind of interface, or a TAP device of several queues.
    #[error("interface '{0}' is no TAP device, or one that was made with multi_queue")]
    Kind(String),
    /// The kernel refused to attach for another reason.
    #[error("cannot attach to TAP device '{name}': {source}")]
    Attach {
        /// The interface.
        name: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Its frames are shorter than the guest was told.
    #[error(
        "TAP device '{name}' has an MTU of {found}, the VM's network card has {needed}: ip link set {name} mtu {needed}"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        found: u16,
        /// The guest's.
        needed: u16,
    },
}

impl TapError {
    /// What an answer to the question for interface `name` means.
    pub(super) fn of_looking(name: &str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENODEV) => TapError::Missing(name.to_owned()),
            _ => TapError::Look { name: name.to_owned(), source },
        }
    }

    /// What a refusal to attach to interface `name`, which exists, means.
    pub(super) fn of_attaching(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.raw_os_error() {
            Some(libc::EBUSY) => TapError::Busy(name),
            Some(libc::EPERM) => TapError::Owner(name),
            Some(libc::EINVAL) => TapError::Kind(name),
            _ => TapError::Attach { name, source },
        }
    }
}
