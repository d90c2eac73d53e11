//! Who is who: the VM, and this process towards the arbiter.

use std::{fs::File, io::Read};

use ftlog::{Shape, VmId};

/// What stays the same for a VM's whole life, whoever runs it.
#[derive(Clone, Debug)]
pub struct VmIdentity {
    /// Its name.
    pub vm: VmId,
    /// Its parts.
    pub shape: Shape,
    /// Unix time at power-on, ns.
    pub wall_base_ns: u64,
}

/// Random bytes from the host, for names only: nothing of it reaches a guest.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// How this process names itself to the arbiter: readable, and never the same twice.
pub fn holder() -> std::io::Result<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().take(64).collect();
    Ok(format!("{host}/{}/{:016x}", std::process::id(), u64::from_le_bytes(random()?)))
}
