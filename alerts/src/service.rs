//! The gRPC service: who calls, what they are streamed, what they make of it, and the way back.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use pulseward_base::{AlertId, Clock, SlipId};
use pulseward_crypto::{
    random,
    slips::{SealedHandle, WayBack, WayBackTerms},
};
use pulseward_eventlog::{
    Body, Log, LogError, NewEntry,
    body::{Alert, AlertState, Severity, Wish},
};
use pulseward_proto_pipeline::v1::{
    AcknowledgeAnswer, AcknowledgeRequest, AlertEvent, SnoozeAnswer, SnoozeRequest, WatchRequest,
    WayBackRequest, WayBackSlip,
    alerts_server::{Alerts, AlertsServer},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    event::event,
    hub::{Hub, Refused, Watching},
    metrics::{End, Metrics, WayBackOutcome, WishOutcome},
    settings::{CareTeam, Recipient, Settings, Signer},
    view::Step,
};

/// Answers care teams.
#[derive(Clone)]
pub struct AlertsService {
    pub(crate) log: Log,
    pub(crate) hub: Arc<Hub>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signer: Arc<Signer>,
}

impl AlertsService {
    /// Returns it as tonic serves it.
    #[must_use]
    pub fn into_server(self) -> AlertsServer<Self> {
        AlertsServer::new(self)
    }

    /// Returns whose token the call carries. Every care team's is compared, in constant time, so
    /// that neither its bytes nor its place in the list can be measured.
    fn caller(&self, metadata: &MetadataMap) -> Result<Recipient, Status> {
        let header = metadata
            .get("authorization")
            .and_then(|header| header.to_str().ok());
        let token = header
            .and_then(|header| header.strip_prefix("Bearer "))
            .unwrap_or_default();
        let digest = CareTeam::digest(token);
        let mut caller = None;
        for team in &self.settings.care_teams {
            let differs = team
                .token
                .0
                .iter()
                .zip(digest.0)
                .fold(0, |sum, (a, b)| sum | (a ^ b));
            if std::hint::black_box(differs) == 0 {
                caller = Some(team.recipient);
            }
        }
        caller.ok_or_else(|| {
            self.metrics.refused_token();
            Status::unauthenticated("not_admitted")
        })
    }

    /// Returns who calls, once the view holds what stood in the log at the start.
    async fn admit(&self, metadata: &MetadataMap) -> Result<Recipient, Status> {
        let caller = self.caller(metadata)?;
        let begun = timeout(self.settings.start_patience, self.hub.begun()).await;
        begun.map_err(|_late| Status::unavailable("starting"))?;
        Ok(caller)
    }

    fn slip(
        &self,
        recipient: Recipient,
        alert: &[u8],
    ) -> Result<Vec<u8>, (WayBackOutcome, Status)> {
        let unknown = || (WayBackOutcome::Unknown, Status::not_found("unknown_alert"));
        let alert = AlertId(alert.try_into().map_err(|_| unknown())?);
        let now = self.clock.now();
        if !self.hub.may_have_slip(recipient, now) {
            let status = Status::resource_exhausted("over_limit");
            return Err((WayBackOutcome::OverLimit, status));
        }
        let step = self.hub.find(alert).ok_or_else(unknown)?;
        let sealed_handle = SealedHandle(step.alert.sealed_handle);
        if step.alert.sealed_handle == [0; 44] {
            return Err((
                WayBackOutcome::Nobody,
                Status::failed_precondition("nobody"),
            ));
        }
        let expiry = now.plus(self.settings.slip_lifetime);
        let terms = WayBackTerms {
            id: SlipId(random::bytes()),
            alert,
            sealed_handle,
            expiry,
        };
        Ok(WayBack::issue(
            &self.signer.certificate,
            &self.signer.key,
            &terms,
        ))
    }
}

impl AlertsService {
    /// Puts what somebody wants of an alert into the feed, where the detector finds it. Returns when
    /// that is durable.
    async fn wish(
        &self,
        recipient: Recipient,
        alert: &[u8],
        wish: impl FnOnce(&Alert) -> Wish,
    ) -> Result<(), (WishOutcome, Status)> {
        let unknown = || (WishOutcome::Unknown, Status::not_found("unknown_alert"));
        let alert = AlertId(alert.try_into().map_err(|_| unknown())?);
        if !self.hub.may_wish(recipient, self.clock.now()) {
            let status = Status::resource_exhausted("over_limit");
            return Err((WishOutcome::OverLimit, status));
        }
        let step = self.hub.find(alert);
        let is_open = |step: &Step| step.alert.state != AlertState::Cleared;
        let step = step.filter(is_open).ok_or_else(unknown)?;
        let Some((slot, key)) = step.patient else {
            let status = Status::failed_precondition("nobody");
            return Err((WishOutcome::Nobody, status));
        };
        let control = wish(&step.alert).to_control(step.alert.pseudonym, recipient.0);
        let entry = NewEntry::for_patient(slot, key, Body::Control(control));
        match self.log.append(entry).await {
            Ok(_) => Ok(()),
            Err(LogError::KeyErased) => Err(unknown()),
            Err(error) => {
                tracing::warn!(%error, "a care team's wish was not written");
                Err((WishOutcome::Log, Status::unavailable("try_again")))
            }
        }
    }

    fn wished(&self, wished: Result<(), (WishOutcome, Status)>) -> Result<(), Status> {
        match wished {
            Ok(()) => {
                self.metrics.wish(WishOutcome::Written);
                Ok(())
            }
            Err((outcome, status)) => {
                self.metrics.wish(outcome);
                Err(status)
            }
        }
    }
}

#[tonic::async_trait]
impl Alerts for AlertsService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<AlertEvent, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let recipient = self.admit(request.metadata()).await?;
        let at_least = u8::try_from(request.get_ref().at_least)
            .ok()
            .and_then(Severity::from_number);
        let watching = self
            .hub
            .watch(recipient, at_least.unwrap_or(Severity::Watch));
        let watching = watching.map_err(|refused| match refused {
            Refused::TooMany => Status::resource_exhausted("too_many_watchers"),
            Refused::Closed => Status::unavailable("shutting_down"),
        })?;
        let stream = WatchStream::new(Arc::clone(&self.hub), recipient, watching);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn way_back(
        &self,
        request: Request<WayBackRequest>,
    ) -> Result<Response<WayBackSlip>, Status> {
        let recipient = self.admit(request.metadata()).await?;
        match self.slip(recipient, &request.get_ref().alert_id) {
            Ok(slip) => {
                self.metrics.way_back(WayBackOutcome::Signed);
                Ok(Response::new(WayBackSlip { slip }))
            }
            Err((outcome, status)) => {
                self.metrics.way_back(outcome);
                Err(status)
            }
        }
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeAnswer>, Status> {
        let recipient = self.admit(request.metadata()).await?;
        let wish = |alert: &Alert| Wish::Acknowledge(alert.id);
        let wished = self.wish(recipient, &request.get_ref().alert_id, wish);
        self.wished(wished.await)?;
        Ok(Response::new(AcknowledgeAnswer {}))
    }

    async fn snooze(
        &self,
        request: Request<SnoozeRequest>,
    ) -> Result<Response<SnoozeAnswer>, Status> {
        let recipient = self.admit(request.metadata()).await?;
        let SnoozeRequest { alert_id, seconds } = request.get_ref();
        let wish = |alert: &Alert| Wish::Snooze {
            lane: alert.lane,
            seconds: *seconds,
        };
        let wished = self.wish(recipient, alert_id, wish);
        self.wished(wished.await)?;
        Ok(Response::new(SnoozeAnswer {}))
    }
}

/// What one watcher is sent: first what it must catch up with, then what comes, at last why it ends.
struct WatchStream {
    hub: Arc<Hub>,
    recipient: Recipient,
    number: u64,
    first: std::vec::IntoIter<Step>,
    steps: mpsc::Receiver<Step>,
    ending: Arc<Mutex<Option<End>>>,
}

impl WatchStream {
    fn new(hub: Arc<Hub>, recipient: Recipient, watching: Watching) -> Self {
        let Watching {
            number,
            first,
            steps,
            ending,
        } = watching;
        Self {
            hub,
            recipient,
            number,
            first: first.into_iter(),
            steps,
            ending,
        }
    }

    fn send(&self, step: &Step) -> Poll<Option<Result<AlertEvent, Status>>> {
        self.hub.delivered(step, self.recipient);
        Poll::Ready(Some(Ok(event(step))))
    }
}

impl Stream for WatchStream {
    type Item = Result<AlertEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(step) = self.first.next() {
            return self.send(&step);
        }
        match self.steps.poll_recv(context) {
            Poll::Ready(Some(step)) => self.send(&step),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                let end = self
                    .ending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                Poll::Ready(end.map(|end| Err(why(end))))
            }
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.hub.leave(self.number);
    }
}

fn why(end: End) -> Status {
    match end {
        End::Slow => Status::resource_exhausted("slow_watcher"),
        End::Shutdown | End::Left => Status::unavailable("shutting_down"),
    }
}
