//! The ledger guest: recorded with a disk, replayed without.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ftlog::Event;
use ftvmm::demo::{
    client::{Connection, Mix, Reply},
    process::Process,
    wait,
};
use ftvmm_tests::{
    disks::{self, DISK_BYTES, SmallFileSystem},
    ledger,
    record::{self, Log},
    stage::{self, PATIENCE, Stage, guest},
};

use super::{replay, times};

const SOON: Duration = Duration::from_secs(15);
const OK: &str = "OK";

/// A recording under way, with a disk that is there for it alone.
struct Recording {
    process: Process,
    log: PathBuf,
    disk: PathBuf,
}

impl Recording {
    /// Starts one on the disk `disk`, and waits until the guest serves.
    fn start(stage: &Stage, disk: &Path) -> anyhow::Result<Self> {
        let console = format!("file={}", stage.directory().join("record.console").display());
        let option = format!("path={}", disk.display());
        let options =
            ["--kernel", "builtin:ledger", "--net", "tap=tap-a", "--console", &console, "--disk", &option];
        let (mut process, log) = record::start(stage.directory(), &stage.name("ledger"), &options)?;
        wait::until("the guest to serve", SOON, || {
            process.expect_alive()?;
            Ok(Connection::open(guest(), Duration::from_millis(200)).ok())
        })?;
        Ok(Self { process, log, disk: disk.to_owned() })
    }

    /// Has the guest switch itself off, takes the disk away, and replays; gives the answers of the disk in the log.
    fn end(self, replays: u64) -> anyhow::Result<Answers> {
        assert_eq!(ask(&mut client()?, &["SHUTDOWN"])?, Reply::Status(OK.into()));
        record::finish(self.process)?;
        fs::remove_file(self.disk)?;
        replay(&self.log, replays)?;
        let mut answers = Answers::default();
        for event in Log::read(&self.log)?.all_steps().into_iter().flat_map(|step| step.events) {
            if let Event::DiskDone { slot, status, data, .. } = event {
                assert_eq!(slot, 2);
                *answers.count.entry((status, !data.is_empty())).or_default() += 1;
            }
        }
        Ok(answers)
    }
}

/// How many answers there were, by status and whether they brought data.
#[derive(Debug, Default)]
struct Answers {
    count: BTreeMap<(u8, bool), u64>,
}

impl Answers {
    fn reads(&self) -> u64 {
        self.count.get(&(0, true)).copied().unwrap_or(0)
    }

    fn errors(&self) -> u64 {
        self.count.iter().filter(|((status, _), _)| *status == 1).map(|(_, count)| count).sum()
    }
}

fn client() -> anyhow::Result<Connection> {
    Ok(Connection::open(guest(), PATIENCE)?)
}

fn ask(client: &mut Connection, words: &[&str]) -> anyhow::Result<Reply> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    Ok(client.call(&words)?)
}

#[track_caller]
fn expect_error(reply: &Reply, text: &str) {
    assert!(matches!(reply, Reply::Error(error) if error.starts_with(text)), "{reply:?} instead of {text}");
}

/// Clients count, read, write and delete on a new disk; gives what is on it, and the answers in the log.
fn record_load(stage: &Stage, operations: u64, replays: u64) -> anyhow::Result<Answers> {
    let disk = stage.directory().join("ledger.disk");
    disks::create_empty(&disk, DISK_BYTES)?;
    let recording = Recording::start(stage, &disk)?;
    let load = stage.load(Mix::Mixed, Duration::ZERO, operations)?;
    load.await_answers(operations, 4 * PATIENCE)?;
    stage::judge(load)?;
    assert!(!ledger::read(&disk)?.is_empty());
    recording.end(replays)
}

#[test]
fn one_recording_replayed_again_and_again_without_its_disk() {
    stage::play(1000, |stage| {
        let answers = record_load(stage, 2000, times())?;
        // At start the whole disk is read, 4 KiB at a time.
        let at_start = DISK_BYTES.div_ceil(4096);
        assert!(answers.reads() > at_start + 100, "{answers:?}");
        assert!(answers.count[&(0, false)] > 400, "{answers:?}");
        assert_eq!(answers.errors(), 0, "{answers:?}");
        Ok(())
    });
}

#[test]
fn many_recordings_with_disks_each_replayed() {
    stage::play(1000, |stage| {
        for _ in 1..times() {
            record_load(stage, 200, 1)?;
        }
        Ok(())
    });
}

#[test]
fn a_disk_without_space_is_an_error_that_the_guest_sees_and_the_replay_repeats() {
    stage::play(1000, |stage| {
        let small = SmallFileSystem::enter(&stage.directory().join("small"), 256)?;
        let disk = stage.directory().join("small/disk");
        disks::create_empty(&disk, DISK_BYTES)?;
        let recording = Recording::start(stage, &disk)?;
        let mut client = client()?;
        // The first page of the file holds eight records.
        assert_eq!(ask(&mut client, &["SET", "key0", "x"])?, Reply::Status(OK.into()));
        let filler = small.fill()?;
        for key in 1..8 {
            assert_eq!(ask(&mut client, &["INCR", &format!("key{key}")])?, Reply::Integer(1));
        }
        expect_error(&ask(&mut client, &["INCR", "key8"])?, "ERR io record 8 could not be written");
        expect_error(&ask(&mut client, &["GET", "key8"])?, "ERR io record 8 could not be written");
        assert_eq!(ask(&mut client, &["INCR", "key1"])?, Reply::Integer(2), "others go on");
        fs::remove_file(filler)?;
        assert_eq!(ask(&mut client, &["SET", "key8", "5"])?, Reply::Status(OK.into()), "space again");
        assert_eq!(ask(&mut client, &["INCR", "key8"])?, Reply::Integer(6));
        let keys = ledger::read(&disk)?;
        assert_eq!((keys.len(), keys["key8"].value.as_slice()), (9, &b"6"[..]));
        assert_eq!(recording.end(2)?.errors(), 1);
        Ok(())
    });
}

#[test]
fn a_disk_cut_short_or_damaged_under_the_guest_is_an_error_that_the_replay_repeats() {
    stage::play(1000, |stage| {
        let disk = stage.directory().join("ledger.disk");
        disks::create_empty(&disk, DISK_BYTES)?;
        let recording = Recording::start(stage, &disk)?;
        let mut client = client()?;
        for key in ["a", "b"] {
            assert_eq!(ask(&mut client, &["SET", key, "1"])?, Reply::Status(OK.into()));
        }
        let file = File::options().write(true).open(&disk)?;
        file.set_len(512)?;
        assert_eq!(ask(&mut client, &["GET", "a"])?, Reply::Value(Some(b"1".to_vec())));
        expect_error(&ask(&mut client, &["GET", "b"])?, "ERR io record 1 could not be read");
        file.write_all_at(b"X", 0)?;
        expect_error(&ask(&mut client, &["GET", "a"])?, "ERR damaged record 0");
        file.write_all_at(b"L", 0)?;
        assert_eq!(ask(&mut client, &["GET", "a"])?, Reply::Value(Some(b"1".to_vec())));
        // A write makes the file longer again.
        assert_eq!(ask(&mut client, &["INCR", "b"])?, Reply::Integer(2));
        assert_eq!(ask(&mut client, &["GET", "b"])?, Reply::Value(Some(b"2".to_vec())));
        assert_eq!(recording.end(2)?.errors(), 1);
        Ok(())
    });
}

#[test]
fn a_read_only_disk_can_be_read_and_nothing_else() {
    stage::play(1000, |stage| {
        let disk = stage.directory().join("ledger.disk");
        disks::create_empty(&disk, DISK_BYTES)?;
        let recording = Recording::start(stage, &disk)?;
        assert_eq!(ask(&mut client()?, &["SET", "a", "1"])?, Reply::Status(OK.into()));
        let before = fs::read(&disk)?;
        let kept = stage.directory().join("kept.disk");
        fs::copy(&disk, &kept)?;
        recording.end(1)?;

        let recording = Recording::start(stage, &PathBuf::from(format!("{},readonly", kept.display())))?;
        let mut client = client()?;
        assert_eq!(ask(&mut client, &["GET", "a"])?, Reply::Value(Some(b"1".to_vec())));
        expect_error(&ask(&mut client, &["INCR", "a"])?, "ERR io record 0 could not be written");
        assert_eq!(ask(&mut client, &["SHUTDOWN"])?, Reply::Status(OK.into()));
        record::finish(recording.process)?;
        assert_eq!(fs::read(&kept)?[..512], before[..512]);
        replay(&recording.log, 2)
    });
}
