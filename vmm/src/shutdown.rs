//! Orderly ends: SIGTERM and SIGINT, and getting the vCPU thread out of a guest that never exits.

use std::{io, sync::Arc, thread, time::Duration};

use machine::VcpuThread;
use replay::StopSwitch;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::ingress::Inbox;

/// A kick that comes just before KVM_RUN is lost, so it is repeated until it was heard.
const KICK_AGAIN: Duration = Duration::from_millis(5);

/// Signals that say that something outside has gone, and would end a process: a terminal or ssh session (SIGHUP), a
/// reader of ours (SIGPIPE), room in a file (SIGXFSZ), the foreground of a terminal (SIGTTIN, SIGTTOU). Whoever meets
/// that gets an error from the call itself, and a VM goes on.
const IGNORED: [libc::c_int; 5] = [libc::SIGHUP, libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTIN, libc::SIGTTOU];

/// From now on the loss of what is around the process does not end it.
pub fn survive_surroundings() {
    for signal in IGNORED {
        // SAFETY: these are signals that may be ignored, and no handler runs.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Has SIGTERM and SIGINT throw `stop` and wake this thread, which must be the one that runs the vCPU.
pub fn on_signal(stop: &StopSwitch, inbox: &Arc<Inbox>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (stop, inbox, vcpu) = (stop.clone(), inbox.clone(), VcpuThread::current()?);
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            self::stop(vcpu, &stop, &inbox);
        }
    })?;
    Ok(())
}

/// Throws the switch and wakes the vCPU thread, again and again until the process ends or the thread is gone.
pub fn stop(vcpu: VcpuThread, stop: &StopSwitch, inbox: &Inbox) {
    stop.throw();
    loop {
        inbox.nudge();
        if !vcpu.kick() {
            return;
        }
        thread::sleep(KICK_AGAIN);
    }
}
