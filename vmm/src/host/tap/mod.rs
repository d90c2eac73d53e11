//! TAP devices: the guest's network card as the host sees it.

mod error;
mod interface;

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub use error::TapError;

/// Room for the largest frame a TAP device hands over.
pub const MAX_FRAME: usize = 65_536;

/// A TAP device, and the way to it while there is one. Frames go in and out whole, without blocking.
pub struct Tap {
    name: String,
    mtu: u16,
    /// `None` since the device went away.
    file: RwLock<Option<Arc<File>>>,
    untaken: AtomicU64,
}

impl Tap {
    /// Attaches to interface `name`, which must exist.
    ///
    /// # Errors
    /// Says why it cannot be used.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let valid = (1..libc::IFNAMSIZ).contains(&name.len());
        if !valid {
            return Err(TapError::Name(name.to_owned()));
        }
        let mtu = mtu_of(name)?;
        let file = RwLock::new(Some(Arc::new(attach(name)?)));
        Ok(Self { name: name.to_owned(), mtu, file, untaken: AtomicU64::new(0) })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's MTU when it was opened, bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Frames of the guest that the host did not take.
    pub fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }

    /// The device is there, as far as is known: whoever reads from it finds out when it goes.
    pub fn is_attached(&self) -> bool {
        self.file().is_some()
    }

    /// Frames can pass: the device is there and up. Whoever does not read from it finds out only here. What cannot be found
    /// out now counts as well.
    pub fn is_usable(&self) -> bool {
        let gone = |error: io::Error| error.raw_os_error() == Some(libc::ENODEV);
        self.is_attached() && interface::is_up(&self.name).unwrap_or_else(|error| !gone(error))
    }

    /// The way to the device, to read from.
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device is gone.
    pub fn detach(&self) {
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks for a device of that name again, for a guest whose card has this MTU.
    ///
    /// # Errors
    /// There is none, or none that can be used.
    pub fn attach_again(&self, needed: u16) -> Result<(), TapError> {
        self.suits(needed)?;
        let file = Arc::new(attach(&self.name)?);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Checks that the interface takes all that a card with this MTU sends.
    ///
    /// # Errors
    /// It does not, or is not there.
    pub fn suits(&self, needed: u16) -> Result<(), TapError> {
        let found = mtu_of(&self.name)?;
        if found < needed {
            return Err(TapError::Mtu { name: self.name.clone(), found, needed });
        }
        Ok(())
    }

    /// Sends a frame. A network may lose frames, so one that the kernel does not take (no room, interface down or gone)
    /// is dropped, and counted.
    pub fn send(&self, frame: &[u8]) {
        let sent = match self.file() {
            Some(file) => (&*file).write(frame).map(drop),
            None => Err(ErrorKind::NotConnected.into()),
        };
        if let Err(error) = sent {
            self.untaken.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(tap = self.name, %error, "frame dropped");
        }
    }

    /// For a side that goes live: drops every frame that waits, as what came before is not for it. A device that went
    /// away and is back is attached to again, for a guest whose card has this MTU.
    ///
    /// # Errors
    /// The host's.
    pub fn discard_waiting(&self, mtu: u16) -> Result<(), TapError> {
        let emptied = self.file().map(|file| {
            let mut buffer = [0; MAX_FRAME];
            while receive(&file, &mut buffer)?.is_some() {}
            io::Result::Ok(())
        });
        match emptied {
            Some(Ok(())) => Ok(()),
            _ => {
                self.detach();
                self.attach_again(mtu)
            }
        }
    }
}

/// The next frame from a TAP device, or `None` when none waits.
///
/// # Errors
/// The host's: the device is gone.
pub fn receive(mut file: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match file.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn mtu_of(name: &str) -> Result<u16, TapError> {
    interface::mtu(name).map_err(|source| TapError::of_looking(name, source))
}

fn attach(name: &str) -> Result<File, TapError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let file = file.map_err(TapError::Open)?;
    match interface::attach(&file, name) {
        Ok(true) => Ok(file),
        Ok(false) => Err(TapError::Missing(name.to_owned())),
        Err(source) => Err(TapError::of_attaching(name, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::demo::net;

    /// One that goes away after it was looked for. In a thread of its own, whose network it is.
    #[test]
    fn no_device_is_made_in_the_place_of_one_that_has_gone() {
        if !net::missing_for_networks().is_empty() {
            assert!(
                std::env::var_os("FTVMM_TEST_WITHOUT_KVM").is_some(),
                "{:?}",
                net::missing_for_networks()
            );
            return;
        }
        let in_network = || {
            net::enter(&["tap-a"]).unwrap();
            attach("tap-a").unwrap();
            for _ in 0..2 {
                assert!(matches!(attach("gone"), Err(TapError::Missing(name)) if name == "gone"));
                assert!(matches!(mtu_of("gone"), Err(TapError::Missing(_))), "it was made");
            }
        };
        thread::scope(|scope| scope.spawn(in_network).join().unwrap());
    }
}
