//! What the project wants of this benchmark, and whether it got it.

use serde::Serialize;

/// One of the project's targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// What is wanted, with the unit.
    pub name: &'static str,
    /// The bound.
    pub bound: f64,
    /// More is better: the bound is the least that will do. Otherwise it is the first value that will not.
    pub at_least: bool,
    /// What came out.
    pub measured: f64,
    /// Whether that is within the bound.
    pub met: bool,
}

impl Target {
    /// Wants `measured` to be `bound` or more.
    pub fn at_least(name: &'static str, bound: f64, measured: f64) -> Self {
        Self { name, bound, at_least: true, measured, met: measured >= bound }
    }

    /// Wants `measured` to be less than `bound`.
    pub fn below(name: &'static str, bound: f64, measured: f64) -> Self {
        Self { name, bound, at_least: false, measured, met: measured < bound }
    }

    /// One line.
    pub fn line(&self) -> String {
        let (verdict, sign) =
            (if self.met { "met   " } else { "MISSED" }, if self.at_least { '≥' } else { '<' });
        format!("{verdict}  {}: {:.2}, wanted {sign} {:.2}", self.name, self.measured, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_or_missed_on_the_right_side() {
        assert!(Target::at_least("ratio", 0.9, 0.9).met);
        assert!(!Target::at_least("ratio", 0.9, 0.89).met);
        assert!(Target::below("delay", 300.0, 299.0).met);
        assert!(!Target::below("delay", 300.0, 300.0).met);
        assert!(Target::below("delay", 3.0, 4.0).line().starts_with("MISSED  delay: 4.00, wanted < 3.00"));
    }
}
