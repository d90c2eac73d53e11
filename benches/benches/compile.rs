//! A Linux guest that compiles files of the Linux kernel, on two lab hosts: unprotected, recorded, and protected.
//!
//! The time is that of the guest's clock. Each mode is measured as a whole before the next, while whoever else uses the
//! machine comes and goes: for ratios see `make bench-compile`, where the modes take turns.

use std::time::Duration;

use anyhow::Context;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use ftvmm_benches::linux::{Guest, LabHosts, Mode};

/// The first files of the guest's list: some seconds on an emulated host.
const FILES: u32 = 2;
const SAMPLES: usize = 10;

fn compile(criterion: &mut Criterion) {
    let place = LabHosts::start().unwrap_or_else(|error| panic!("{error:#}"));
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(SAMPLES).sampling_mode(SamplingMode::Flat);
    // Shorter than a compile, so that a sample is one compile.
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(1));
    for mode in Mode::ALL {
        let measured = start(&place, mode).and_then(|mut guest| {
            group.bench_function(mode.name(), |bencher| {
                bencher.iter_custom(|count| {
                    let took = (0..count).map(|_| guest.compile(Some(FILES)).map(|it| it.seconds));
                    let took: anyhow::Result<f64> = took.sum();
                    Duration::from_secs_f64(took.unwrap_or_else(|error| panic!("{error:#}")))
                });
            });
            guest.shut_down()
        });
        measured.with_context(|| mode.name()).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// A guest that has the compiler in its memory.
fn start(place: &LabHosts, mode: Mode) -> anyhow::Result<Guest<'_>> {
    let mut guest = Guest::start(place, mode, None)?;
    guest.await_shell()?;
    guest.await_protection()?;
    guest.compile(Some(FILES))?;
    Ok(guest)
}

criterion_group!(benches, compile);
criterion_main!(benches);
