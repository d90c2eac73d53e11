//! What becomes of huge pages: while it is noted what the guest writes, and afterwards.

use std::fs;

use ftvmm_benches::{numbers::median, table::Table};

use crate::{account::Account, guest::Guest, way::Way};

/// How many mappings of 2 MiB all guests of this host have, where debugfs is mounted.
const COUNT: &str = "/sys/kernel/debug/kvm/pages_2m";
/// Passes, of which the median counts.
const PASSES: usize = 5;

/// A table of a guest that writes a word in every page of its RAM.
pub fn measure(mib: u64) -> anyhow::Result<String> {
    let mut table = Table::new(&[
        "a guest that writes every page",
        "the first pass, ms",
        "each after it, ms",
        "huge pages",
    ]);
    let mut guest = Guest::new(Way::Bitmap, mib)?;
    guest.write(guest.pages())?;
    let mut row = |label: &str, guest: &mut Guest| -> anyhow::Result<()> {
        let ms = |guest: &mut Guest| guest.pass().map(|took| took.as_secs_f64() * 1e3);
        let first = ms(guest)?;
        let after: Vec<f64> = (0..PASSES).map(|_| ms(guest)).collect::<Result<_, _>>()?;
        let huge = fs::read_to_string(COUNT).map_or("not known".to_owned(), |text| text.trim().to_owned());
        table.row(label, [format!("{first:.1}"), format!("{:.1}", median(after)), huge]);
        Ok(())
    };
    row("untracked", &mut guest)?;
    guest.track(true)?;
    row("tracked, nothing is protected yet", &mut guest)?;
    let mut account = Account::of(Way::Bitmap, &guest)?;
    account.learn(&guest)?;
    row("every page was protected once", &mut guest)?;
    guest.track(false)?;
    row("untracked again", &mut guest)?;
    Ok(table.text())
}
