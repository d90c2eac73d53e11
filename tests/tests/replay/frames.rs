//! Whole frames that are missing, repeated, swapped or of other contents. Checksums and sequence are right: only a
//! look at what the frames say can find it.

use std::fs;

use ftlog::{End, FrameKind, Manifest, PagesEncoder, StepsFrame, decode_pages};
use ftvmm_tests::record::Log;

use super::damage::Small;

/// A recording in which each page and each step has a frame of its own.
fn in_small_frames() -> anyhow::Result<Option<Small>> {
    let Some(Small { directory, path, log, .. }) = Small::record()? else { return Ok(None) };
    let small = Log { frames: (0..log.frames.len()).flat_map(|index| pieces(&log, index)).collect() };
    fs::write(&path, small.bytes())?;
    Small::of(directory, path).map(Some)
}

fn pieces(log: &Log, index: usize) -> Vec<(FrameKind, Vec<u8>)> {
    let (kind, body) = &log.frames[index];
    match kind {
        FrameKind::Pages => decode_pages(body).expect("it was recorded").iter().map(alone).collect(),
        FrameKind::Steps => {
            let StepsFrame { mut first, steps } = log.steps(index);
            let mut frames = Vec::new();
            for step in steps {
                let alone = log.with_steps(index, &StepsFrame { first, steps: vec![step] });
                frames.push(alone.frames[index].clone());
                first = first.next();
            }
            frames
        }
        _ => vec![(*kind, body.clone())],
    }
}

fn alone((gpa, page): (u64, &[u8; ftlog::PAGE_SIZE])) -> (FrameKind, Vec<u8>) {
    let mut pages = PagesEncoder::default();
    pages.push(gpa, page);
    (FrameKind::Pages, pages.take_plain())
}

#[test]
fn a_missing_frame_is_found() -> anyhow::Result<()> {
    let Some(small) = in_small_frames()? else { return Ok(()) };
    for index in 0..small.log.frames.len() {
        let mut log = small.log.clone();
        let (kind, _) = log.frames.remove(index);
        small.refused(&log.bytes(), &format!("without frame {index}, {kind:?}"))?;
    }
    let mut log = small.log.clone();
    log.frames.remove(log.of_kind(FrameKind::Steps)[5]);
    let error = small.refused(&log.bytes(), "without a step")?;
    assert!(error.contains("the log has #7 where #6 is next"), "{error}");
    small.refused_by_program(&log.bytes(), "without a step")
}

#[test]
fn a_repeated_frame_is_found() -> anyhow::Result<()> {
    let Some(small) = in_small_frames()? else { return Ok(()) };
    for index in 0..small.log.frames.len() {
        let mut log = small.log.clone();
        log.frames.insert(index, log.frames[index].clone());
        small.refused(&log.bytes(), &format!("frame {index} twice"))?;
    }
    Ok(())
}

#[test]
fn swapped_frames_are_found() -> anyhow::Result<()> {
    let Some(small) = in_small_frames()? else { return Ok(()) };
    for index in 1..small.log.frames.len() {
        let mut log = small.log.clone();
        log.frames.swap(index - 1, index);
        small.refused(&log.bytes(), &format!("frames {} and {index} swapped", index - 1))?;
    }
    Ok(())
}

#[test]
fn frames_of_a_connection_have_no_place_in_a_file() -> anyhow::Result<()> {
    let Some(small) = in_small_frames()? else { return Ok(()) };
    for kind in FrameKind::ALL {
        let in_a_file = [
            FrameKind::Begin,
            FrameKind::BootPages,
            FrameKind::Pages,
            FrameKind::State,
            FrameKind::Steps,
            FrameKind::End,
        ];
        if in_a_file.contains(&kind) {
            continue;
        }
        for index in [0, 1, small.log.of_kind(FrameKind::Steps)[1]] {
            let mut log = small.log.clone();
            log.frames.insert(index, (kind, Vec::new()));
            small.refused(&log.bytes(), &format!("a {kind:?} frame before frame {index}"))?;
        }
    }
    Ok(())
}

/// A byte of memory that the guest never looks at still counts: all of memory is compared at the end.
#[test]
fn another_byte_of_memory_is_found() -> anyhow::Result<()> {
    let Some(small) = in_small_frames()? else { return Ok(()) };
    for index in small.log.of_kind(FrameKind::Pages) {
        for offset in [16, 2000, 4111] {
            let mut log = small.log.clone();
            log.frames[index].1[offset] ^= 1;
            small.refused(&log.bytes(), &format!("byte {offset} of the page in frame {index}"))?;
        }
    }
    Ok(())
}

#[test]
fn another_manifest_is_found() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let recorded: Manifest = small.log.message(0);
    let refuse = |change: fn(&mut Manifest), expected: &str| {
        let mut manifest = recorded.clone();
        change(&mut manifest);
        let bytes = small.log.with_message(0, &manifest).bytes();
        let error = small.refused(&bytes, expected)?;
        assert!(error.contains(expected), "{error}");
        small.refused_by_program(&bytes, expected)
    };
    refuse(|manifest| manifest.cpu_table ^= 1, "frame 0 at byte 0: it was made with another CPU table")?;
    refuse(|manifest| manifest.shape.cpu = "pentium".into(), "there is no CPU baseline 'pentium'")?;
    refuse(|manifest| manifest.shape.memory_mib = 5, "divergence at the end")?;
    refuse(|manifest| manifest.shape.memory_mib = 0, "--memory 0 is outside")?;
    refuse(|manifest| manifest.shape.memory_mib = u32::MAX, "--memory 4294967295 is outside")
}

#[test]
fn another_state_is_found() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let index = small.log.of_kind(FrameKind::State)[0];
    let refuse = |change: fn(&mut Vec<u8>), expected: &str| {
        let mut log = small.log.clone();
        change(&mut log.frames[index].1);
        let error = small.refused(&log.bytes(), expected)?;
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&format!("frame {index} ")), "{error}");
        small.refused_by_program(&log.bytes(), expected)
    };
    // The version is the first number; below 128 it takes one byte.
    refuse(|body| body[0] += 1, "has version 3, this program reads version 2")?;
    refuse(|body| body.push(0), "1 bytes follow")?;
    refuse(|body| body.truncate(body.len() - 1), "does not decode")?;
    refuse(Vec::clear, "does not decode")
}

#[test]
fn another_end_is_found() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let (index, recorded) = (small.log.frames.len() - 1, small.log.end());
    let refuse = |change: fn(&mut End), expected: &str| {
        let mut end = recorded.clone();
        change(&mut end);
        let bytes = small.log.with_message(index, &end).bytes();
        let error = small.refused(&bytes, expected)?;
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&recorded.position.to_string()), "{error}");
        small.refused_by_program(&bytes, expected)
    };
    refuse(|end| end.digests.memory ^= 1 << 100, "the digest of the guest memory")?;
    refuse(|end| end.digests.vcpu ^= 1, "the digest of the vCPU state")?;
    refuse(|end| end.digests.platform ^= 1, "the digest of the device state")?;
    refuse(|end| end.digests.running ^= 1 << 40, "the digest of the execution")?;
    refuse(|end| end.position.0 += 1, "the log closes at")?;
    refuse(|end| end.time_ns += 1, "the log closes at")
}
