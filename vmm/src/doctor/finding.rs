//! What was found.

use serde::Serialize;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// A pair runs without it, but something else does not, or not well.
    Warning,
    /// Without it no pair can run here.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it should be.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to change; none where nothing need be.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), severity: Severity::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn warning(subject: &str, found: impl Into<String>, remedy: &str) -> Self {
        Self::bad(Severity::Warning, subject, found.into(), remedy)
    }

    pub(super) fn missing(subject: &str, found: impl Into<String>, remedy: &str) -> Self {
        Self::bad(Severity::Missing, subject, found.into(), remedy)
    }

    fn bad(severity: Severity, subject: &str, found: String, remedy: &str) -> Self {
        Self { subject: subject.to_owned(), severity, found, remedy: Some(remedy.to_owned()) }
    }
}
