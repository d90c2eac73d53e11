//! The bytes of format version 7, for ever, and those of the versions before it, which are refused.
//!
//! A change of the format is a new version with new files beside these; the files here are never edited. Until then
//! a failure means that logs already written could no longer be read.

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use common::Parts;
use ftlog::*;

const PARTS: [&str; 3] = ["file", "primary", "secondary"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn files() -> [(&'static str, Parts); 3] {
    [
        ("v7-file.bin", common::file()),
        ("v7-primary.bin", common::primary()),
        ("v7-secondary.bin", common::secondary()),
    ]
}

#[test]
fn encoder_still_writes_them() {
    for (name, parts) in files() {
        assert_eq!(fs::read(path(name)).unwrap(), common::encode(&parts).concat(), "{name}");
    }
}

#[test]
fn decoder_still_reads_them() {
    for (name, parts) in files() {
        let (frames, error) = common::read_all(&fs::read(path(name)).unwrap());
        assert!(error.is_none(), "{name}: {error:?}");
        let found: Parts = frames.into_iter().map(|frame| (frame.kind, frame.body)).collect();
        assert_eq!(found, parts, "{name}");
    }
}

#[test]
fn another_version_is_refused_by_its_number() {
    for (version, part) in
        [1, 2, 3, 4, 5, 6].into_iter().flat_map(|version| PARTS.map(|part| (version, part)))
    {
        let name = format!("v{version}-{part}.bin");
        let (frames, error) = common::read_all(&fs::read(path(&name)).unwrap());
        assert!(frames.is_empty(), "{name}");
        let text = format!("frame 0 at byte 0: format version {version}, this program reads version 7");
        assert_eq!(error.unwrap().to_string(), text, "{name}");
    }
}

#[test]
fn bodies_still_mean_the_same() {
    for (name, _) in files() {
        for Frame { kind, body, .. } in common::read_all(&fs::read(path(name)).unwrap()).0 {
            check_body(kind, &body);
        }
    }
}

fn check_body(kind: FrameKind, body: &[u8]) {
    match kind {
        FrameKind::Begin => assert_eq!(Manifest::decode(body).unwrap(), common::manifest()),
        FrameKind::BootPages | FrameKind::Pages => {
            let pages = decode_pages(body).unwrap();
            let pages: Vec<_> = pages.iter().map(|(gpa, page)| (gpa, page[17])).collect();
            assert_eq!(pages, [(0x1000, 0xa5), (0x5000, 0), (0x7000, 17)]);
        }
        FrameKind::State => assert_eq!(body, b"opaque"),
        FrameKind::Steps => {
            let StepsFrame { first, steps } = decode_steps(body).unwrap();
            let expected = match first {
                Position(1000) => common::steps(),
                Position(1005) => common::forced(),
                _ => common::steps()[..1].to_vec(),
            };
            assert_eq!(steps, expected);
        }
        FrameKind::End => assert_eq!(End::decode(body).unwrap(), common::end()),
        FrameKind::Hello => assert_eq!(Hello::decode(body).unwrap(), common::hello()),
        FrameKind::Welcome => assert_eq!(Welcome::decode(body).unwrap(), common::welcome()),
        FrameKind::Refuse => assert_eq!(Refuse::decode(body).unwrap().reason, "busy with VM 1032"),
        FrameKind::Ack => assert_eq!(Ack::decode(body).unwrap(), common::ack()),
        FrameKind::Heartbeat => assert_eq!(Heartbeat::decode(body).unwrap(), common::heartbeat()),
        FrameKind::Diverged => assert_eq!(Diverged::decode(body).unwrap(), common::diverged()),
        FrameKind::Registers => {
            let found = Registers::decode(body).unwrap();
            assert!(
                found == common::registers() || found == Registers { position: Position(7), registers: None }
            );
        }
        FrameKind::DiskBases => assert_eq!(DiskBases::decode(body).unwrap(), common::bases()),
        FrameKind::DiskRegions => assert_eq!(DiskRegions::decode(body).unwrap(), common::regions()),
        FrameKind::DiskDigests => assert_eq!(DiskDigests::decode(body).unwrap(), common::digests()),
        FrameKind::DiskBlock => assert_eq!(DiskBlock::decode(body).unwrap(), common::block()),
        FrameKind::Report => assert_eq!(Report::decode(body).unwrap(), common::report()),
        FrameKind::PageDigests => assert_eq!(PageDigests::decode(body).unwrap(), common::page_digests()),
        FrameKind::Delta => assert_eq!(common::delta().frames().last(), Some((kind, body.to_vec()))),
        FrameKind::AskPages => assert_eq!(body, 5u64.to_le_bytes()),
        FrameKind::SeedRound => assert_eq!(body, 2u64.to_le_bytes()),
        FrameKind::SeedDone
        | FrameKind::SeedHeld
        | FrameKind::Detach
        | FrameKind::Query
        | FrameKind::Fail => {
            assert!(body.is_empty(), "{kind:?}");
        }
    }
}

#[test]
fn every_kind_is_in_them() {
    let parts = files().into_iter().flat_map(|(_, parts)| parts).map(|(kind, _)| kind).collect::<Vec<_>>();
    for kind in FrameKind::ALL {
        assert!(parts.contains(&kind), "{kind:?}");
    }
}

/// Run by hand, once for each new version.
#[test]
#[ignore = "writes the files of a new version; refuses to replace one"]
fn write_missing_files() {
    for (name, parts) in files() {
        let mut file = fs::File::create_new(path(name)).unwrap();
        file.write_all(&common::encode(&parts).concat()).unwrap();
    }
}
