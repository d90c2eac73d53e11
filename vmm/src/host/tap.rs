//! TAP devices: the guest's network card as the host sees it.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::fs::OpenOptionsExt,
};

/// Room for the largest frame a TAP device hands over.
pub const MAX_FRAME: usize = 65_536;

/// Why a TAP device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name is too long for an interface.
    #[error("'{0}' is no interface name: 1 to 15 bytes")]
    Name(String),
    /// `/dev/net/tun` is missing or not accessible.
    #[error("cannot open /dev/net/tun: {0}; load the tun module and run as root or with CAP_NET_ADMIN")]
    Open(io::Error),
    /// The kernel refused to attach.
    #[error("cannot attach to TAP device '{name}': {source}; is another process using it?")]
    Attach {
        /// The interface.
        name: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// An attached TAP device. Frames go in and out whole, without blocking.
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Attaches to interface `name`, which is made if it does not exist.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let valid = (1..libc::IFNAMSIZ).contains(&name.len());
        if !valid {
            return Err(TapError::Name(name.to_owned()));
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = file.map_err(TapError::Open)?;
        attach(&file, name).map_err(|source| TapError::Attach { name: name.to_owned(), source })?;
        Ok(Self { file, name: name.to_owned() })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next frame, or `None` when none waits.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a frame. A network may lose frames, so one that the kernel does not take (no room, interface down) is
    /// dropped.
    pub fn send(&self, frame: &[u8]) {
        if let Err(error) = (&self.file).write(frame) {
            tracing::debug!(tap = self.name, %error, "frame dropped");
        }
    }

    /// Drops every frame that waits: what came while this side was not live is not for it.
    pub fn discard_waiting(&self) -> io::Result<()> {
        let mut buffer = [0; MAX_FRAME];
        while self.receive(&mut buffer)?.is_some() {}
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, name: &str) -> io::Result<()> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short,
        },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the descriptor is open, and the kernel reads and writes only the ifreq, which outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
