//! The care team's side of a demo: follows alerts, and takes the way back from the first that pages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pulseward_base::AlertId;
use pulseward_proto_pipeline::v1::{AlertEvent, AlertSeverity, AlertState};
use tokio_util::sync::CancellationToken;

use super::table::{AlertLine, Severity};
use crate::{client::Staff, home::Home, words};

/// How long to wait before a lost connection is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How many lines are kept for the screen.
const KEPT: usize = 64;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The newest lines, newest last.
    pub lines: Vec<AlertLine>,
    /// Each alert once, with how often a step of it came.
    pub alerts: BTreeMap<AlertId, u32>,
    /// The first alert that pages and has a patient.
    pub first_page: Option<AlertId>,
    /// When the first alert came, since the start.
    pub first_after: Option<Duration>,
}

/// Shared between the watcher and the screen.
pub(super) type Board = Arc<Mutex<Seen>>;

/// Follows alerts until `stop`, through every restart of the service.
pub(super) async fn follow(
    home: Home,
    board: Board,
    elapsed: impl Fn() -> Duration,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            ended = follow_once(&home, &board, &elapsed) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "the alert stream is lost");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow_once(
    home: &Home,
    board: &Board,
    elapsed: &impl Fn() -> Duration,
) -> anyhow::Result<()> {
    let mut events = Staff::connect(home).await?.watch().await?;
    while let Some(event) = events.message().await? {
        note(
            &mut board.lock().unwrap_or_else(PoisonError::into_inner),
            &event,
            elapsed(),
        );
    }
    Ok(())
}

fn note(seen: &mut Seen, event: &AlertEvent, elapsed: Duration) {
    let Ok(id) = event.alert_id.as_slice().try_into().map(AlertId) else {
        return;
    };
    *seen.alerts.entry(id).or_default() += 1;
    if event.state() != AlertState::Cleared {
        seen.first_after.get_or_insert(elapsed);
        if event.pages && !event.pseudonym.is_empty() {
            seen.first_page.get_or_insert(id);
        }
    }
    let severity = match (event.state(), event.severity()) {
        (AlertState::Cleared, _) => Severity::Watch,
        (_, AlertSeverity::Emergency) => Severity::Emergency,
        (_, AlertSeverity::Urgent) => Severity::Urgent,
        _ => Severity::Watch,
    };
    let text = format!("{:>4} s  {}", elapsed.as_secs(), words::alert_short(event));
    seen.lines.push(AlertLine { severity, text });
    if seen.lines.len() > KEPT {
        seen.lines.remove(0);
    }
}
