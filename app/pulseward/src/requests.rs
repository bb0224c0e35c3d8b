//! What operators may ask of the running program, over its admin socket.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use pulseward_app::{
    admin,
    status::{Board, Problem},
};
use pulseward_base::{Clock, bytes};
use pulseward_crypto::slips::{GrantPurpose, grant::Classes};
use pulseward_keys::KeysService;
use serde::{Deserialize, Serialize};

use crate::checks;

/// One request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is wrong now.
    Status,
    /// The care team's token.
    CareToken,
    /// A grant for a reader of the history.
    Grant {
        /// The reader's HPKE key, in hexadecimal.
        reader: String,
        /// Classes of column: times, values, proofs.
        classes: Vec<String>,
        /// What for: research, operations, evidence.
        purpose: String,
        /// How long, in seconds.
        seconds: u64,
    },
}

/// What is wrong now, and since when the program runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Whether the program takes work.
    pub ready: bool,
    /// When it started, in microseconds.
    pub started: i64,
    /// What the time is by its clock.
    pub now: i64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Answers them.
pub struct Operator {
    /// The board of problems.
    pub board: Board,
    /// Whether the program takes work.
    pub ready: admin::Ready,
    /// The key service, which issues grants.
    pub keys: KeysService,
    /// The care team's token, in hexadecimal.
    pub care_token: zeroize::Zeroizing<String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// When the program started.
    pub started: i64,
}

impl admin::Handler for Operator {
    type Request = Request;
    type Answer = serde_json::Value;

    async fn handle(&self, request: Request) -> anyhow::Result<serde_json::Value> {
        Ok(match request {
            Request::Status => {
                let now = self.clock.now();
                checks::readiness(&self.board, &self.ready, now);
                serde_json::to_value(StatusAnswer {
                    ready: self.ready.is(),
                    started: self.started,
                    now: now.0,
                    problems: self.board.problems(),
                })?
            }
            Request::CareToken => serde_json::Value::String(self.care_token.as_str().to_owned()),
            Request::Grant {
                reader,
                classes,
                purpose,
                seconds,
            } => {
                let grant = self.grant(&reader, &classes, &purpose, seconds).await?;
                serde_json::Value::String(bytes::hex(&grant))
            }
        })
    }
}

impl Operator {
    async fn grant(
        &self,
        reader: &str,
        classes: &[String],
        purpose: &str,
        seconds: u64,
    ) -> anyhow::Result<Vec<u8>> {
        let reader = bytes::unhex(reader)
            .ok()
            .and_then(|key| key.try_into().ok());
        let reader = reader.context("a reader's key is 65 bytes in hexadecimal")?;
        let classes = parse_classes(classes)?;
        let purpose = match purpose {
            "research" => GrantPurpose::Research,
            "operations" => GrantPurpose::Operations,
            "evidence" => GrantPurpose::Evidence,
            other => anyhow::bail!("{other} is no purpose: research, operations, evidence"),
        };
        let life = Duration::from_secs(seconds);
        self.keys
            .issue_grant(&reader, classes, purpose, life)
            .await
            .context("the grant was refused: it may hold for 30 days at most")
    }
}

fn parse_classes(words: &[String]) -> anyhow::Result<Classes> {
    let mut classes: Option<Classes> = None;
    for word in words {
        let class = match word.as_str() {
            "times" => Classes::TIMES,
            "values" => Classes::VALUES,
            "proofs" => Classes::PROOFS,
            other => anyhow::bail!("{other} is no class of column: times, values, proofs"),
        };
        classes = Some(classes.map_or(class, |classes| classes.and(class)));
    }
    classes.context("a grant names at least one class of column")
}
