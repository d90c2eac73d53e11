//! A lab to use by hand: two lab hosts, a terminal on either, and a switch for each one's power.
//!
//! `make lab` starts it; `scripts/lab` talks to it from other terminals.

use std::{
    env, fs,
    io::{self, Write},
    process::{self, ExitCode},
    thread,
};

use anyhow::{bail, ensure};
use ftvmm_tests::lab::{Host, Lab, Plan, artefacts};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

mod door;
mod terminal;

use door::{Answer, Door};

const USAGE: &str = "\
usage: lab             start two lab hosts, with a shell on host a; they end with it
       lab linux       the same, with a Linux guest on host a instead of the shell
in another terminal, while it runs:
       lab shell HOST          a shell on host a or b (its console: one terminal at a time)
       lab run HOST COMMAND    run a shell command there
       lab off HOST            a power failure of that host
       lab on HOST             switch it on again
       lab cut, lab mend       the network between the hosts";

/// What host a does on its console before it gives a shell.
const LINUX: &str = "\
echo 'starting Linux; exit in its shell switches it off'
stty raw -echo
ftvmm run --kernel /files/vmlinux --disk path=/dev/vda --net tap=vm0 --memory 512 --console stdio \\
    --cmdline 'console=ttyS0 root=/dev/vda ip=10.77.0.2/24,10.77.0.1 ftvmm.workload=shell'
status=$?
stty sane
echo \"ftvmm ended with exit status $status. This is the shell of lab host a.\"
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => start(false),
        ["linux"] => start(true),
        ["shell", host] => shell(host),
        ["run" | "off" | "on", _, ..] | ["cut" | "mend"] => ask(&words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("lab: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a lab until the terminal on host a is left.
fn start(linux: bool) -> anyhow::Result<ExitCode> {
    let missing = artefacts::missing();
    ensure!(missing.is_empty(), "this machine lacks:\n  {}", missing.join("\n  "));
    let door = Door::open()?;
    let mut plan = Plan::new()?;
    plan.files.push(("vmlinux".to_owned(), artefacts::guest_kernel()?));
    plan.disk = Some(artefacts::guest_root()?);
    let script = tempfile::NamedTempFile::new()?;
    if linux {
        fs::write(script.path(), LINUX)?;
        plan.files.push(("console.a".to_owned(), script.path().to_owned()));
    }
    println!("starting two lab hosts ...");
    let mut lab = Lab::start(&plan)?;
    greet(&lab);
    leave_on_signals()?;
    let (serial, log) = (lab.a.serial(), lab.a.console());
    thread::Builder::new().name("terminal".into()).spawn(move || {
        if let Err(error) = terminal::attach(&serial, &log) {
            eprintln!("lab: the terminal: {error:#}");
        }
        let _ = door::ask(&["leave"]);
    })?;
    door.serve(|words| answer(&mut lab, words))?;
    println!("\nthe lab hosts are switched off");
    Ok(ExitCode::SUCCESS)
}

fn greet(lab: &Lab) {
    for host in [&lab.a, &lab.b] {
        let id = host.process_id().unwrap_or_default();
        println!("host {}: {} on the network between the hosts, process {id}", host.name(), host.address());
    }
    println!("files, consoles, disks, and what both hosts have at /shared: {}", lab.directory().display());
    println!("the clients' network: nsenter --target {} --net ping 10.77.0.2 (as root)", process::id());
    println!(
        "in another terminal: scripts/lab shell b, scripts/lab off a, scripts/lab (for what else there is)"
    );
    println!("this is the console of host a; Ctrl-] ends the lab\n");
}

/// Ends the lab in order when somebody ends the process.
fn leave_on_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            terminal::restore();
            let _ = door::ask(&["leave"]);
        }
    })?;
    Ok(())
}

/// Does what another terminal asks for.
fn answer(lab: &mut Lab, words: &[&str]) -> anyhow::Result<Answer> {
    match *words {
        ["run", host, ref command @ ..] if !command.is_empty() => {
            let output = find(lab, host)?.run(&command.join(" "))?;
            return Ok(Answer { status: output.status, stdout: output.stdout, stderr: output.stderr });
        }
        ["console", host] => {
            let host = find(lab, host)?;
            let stdout = format!("{}\n{}", host.serial().display(), host.console().display());
            return Ok(Answer { stdout, ..Answer::default() });
        }
        ["off", host] => find(lab, host)?.power_off_now()?,
        ["on", host] => find(lab, host)?.power_on()?,
        ["cut"] => lab.network.cut_ft()?,
        ["mend"] => lab.network.mend_ft()?,
        _ => bail!("there is no such request"),
    }
    Ok(Answer::default())
}

fn find<'a>(lab: &'a mut Lab, name: &str) -> anyhow::Result<&'a mut Host> {
    match name {
        "a" => Ok(&mut lab.a),
        "b" => Ok(&mut lab.b),
        _ => bail!("the hosts are a and b, not '{name}'"),
    }
}

/// Has the running lab do something, and says what came of it.
fn ask(words: &[&str]) -> anyhow::Result<ExitCode> {
    let Answer { status, stdout, stderr } = door::ask(words)?;
    io::stdout().write_all(stdout.as_bytes())?;
    io::stderr().write_all(stderr.as_bytes())?;
    Ok(ExitCode::from(status.clamp(0, 255) as u8))
}

fn shell(host: &str) -> anyhow::Result<ExitCode> {
    let answer = door::ask(&["console", host])?;
    let Some((serial, log)) = answer.stdout.split_once('\n') else { bail!("{}", answer.stderr.trim()) };
    println!("the console of host {host}; Ctrl-] leaves it\n");
    terminal::attach(serial.as_ref(), log.as_ref())?;
    println!();
    Ok(ExitCode::SUCCESS)
}
