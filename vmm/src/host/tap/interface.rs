//! What the kernel says of interfaces, in the network that the calling thread is in. (`/sys/class/net` shows the one that
//! it was mounted in.)

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
};

/// A request about interface `name`, which is short enough.
fn request(name: &str) -> libc::ifreq {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn ask(file: &impl AsRawFd, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads and writes only the ifreq, which outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(file.as_raw_fd(), what, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The MTU of interface `name`.
pub fn mtu(name: &str) -> io::Result<u16> {
    let mut request = request(name);
    ask(&UnixDatagram::unbound()?, libc::SIOCGIFMTU as libc::Ioctl, &mut request)?;
    // SAFETY: the kernel has written this member.
    #[allow(unsafe_code)]
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// Whether interface `name` is up, as far as its administrator says.
pub fn is_up(name: &str) -> io::Result<bool> {
    let mut request = request(name);
    ask(&UnixDatagram::unbound()?, libc::SIOCGIFFLAGS as libc::Ioctl, &mut request)?;
    // SAFETY: the kernel has written this member.
    #[allow(unsafe_code)]
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
}

/// Makes `file`, which is a new `/dev/net/tun`, the other end of TAP device `name`. Gives whether the device was there
/// before: one that was not goes with the file.
pub fn attach(file: &File, name: &str) -> io::Result<bool> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    ask(file, libc::TUNSETIFF as libc::Ioctl, &mut request)?;
    ask(file, libc::TUNGETIFF as libc::Ioctl, &mut request)?;
    // SAFETY: the kernel has written this member.
    #[allow(unsafe_code)]
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_PERSIST != 0)
}
