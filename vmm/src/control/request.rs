//! Requests, and the promise to answer each.

use crossbeam_channel::Sender;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, json};

use super::peer_address;

/// A line that a client writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Tell the status.
    Status,
    /// Take `to` (HOST:PORT) as the peer and seed a secondary there.
    Protect {
        /// The secondary's listener.
        #[serde(deserialize_with = "peer")]
        to: String,
    },
    /// Fail on purpose, so that the secondary takes over; answered with the takeover.
    TestFailover,
    /// Have the secondary drop its VM and seed it again.
    TestRestartSecondary,
    /// Let go of the secondary and stay alone until `resume`.
    Suspend,
    /// Look for a secondary again.
    Resume,
    /// Let go of the secondary for good, and forget its address.
    TurnOff,
    /// Let go of the secondary and seed another one at `to`.
    MigrateSecondary {
        /// The new secondary's listener.
        #[serde(deserialize_with = "peer")]
        to: String,
    },
}

fn peer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    peer_address(&String::deserialize(deserializer)?).map_err(Error::custom)
}

/// A request that waits for its answer. Dropping it answers that nothing came of it.
#[derive(Debug)]
pub struct Pending {
    /// What is asked.
    pub request: Request,
    answer: Sender<Value>,
}

impl Pending {
    /// A request whose answer goes to `answer`.
    pub fn new(request: Request, answer: Sender<Value>) -> Self {
        Self { request, answer }
    }

    /// Answers with a result.
    pub fn done(self, result: Value) {
        let _ = self.answer.send(json!({ "ok": result }));
    }

    /// Answers that it is not done, and why.
    pub fn refuse(self, reason: impl Into<String>) {
        let _ = self.answer.send(json!({ "error": reason.into() }));
    }
}
