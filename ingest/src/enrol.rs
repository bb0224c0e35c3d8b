//! Makes a device of a ticket: admitted by the registry, redeemed once in the log, bound, answered.

use pulseward_base::{Kid, Reject};
use pulseward_crypto::{
    Point,
    frame::{DownFrame, Outcome},
    session::OpenedEnrol,
    slips::record,
};
use pulseward_custody::{Admission, AdmitRequest, KeyError};
use pulseward_eventlog::{
    Body, LogError, NewEntry,
    body::{Bind, Device, DeviceStatus, Redemption},
};

use crate::{error::IngestError, shared::Core};

impl Core {
    /// Enrols the device that wishes it. The error is what the device is answered.
    pub(crate) async fn enrol(&self, wish: OpenedEnrol) -> Result<DownFrame, Outcome> {
        let wish = wish.verify().map_err(Outcome::Rejected)?;
        let now = self.now();
        let request = AdmitRequest {
            ticket_slip: wish.ticket_slip().to_vec(),
            device: wish.device(),
            attestation: wish.attestation().to_vec(),
            now,
        };
        let admission = match self.keys.admit(&request).await {
            Ok(admission) => admission,
            Err(KeyError::Refused(reject)) => return Err(Outcome::Rejected(reject)),
            Err(KeyError::TicketReused(first)) => return Err(self.reused(first).await),
            Err(KeyError::Erased | KeyError::Unavailable) => return Err(self.later(None)),
        };
        let redemption = Redemption {
            ticket_mac: admission.ticket_mac,
            device: admission.kid,
            time: now,
        };
        let first = self.redemptions.redeem(&self.log, redemption).await;
        let first = first.map_err(|error| self.unfinished(error))?;
        if first != admission.kid {
            return Err(self.reused(first).await);
        }
        self.bind(&admission, request.device).await?;
        self.metrics.enrolled();
        Ok(DownFrame::Record {
            certificate: admission.certificate,
            record: admission.record,
        })
    }

    /// Writes whose device it is, then that it may send: whoever sees the second has the first.
    async fn bind(&self, admission: &Admission, point: Point) -> Result<(), Outcome> {
        if let Some(known) = self.devices.find(admission.kid) {
            return if known.is_active() {
                Ok(())
            } else {
                Err(Outcome::Rejected(Reject::BadTicket))
            };
        }
        if self.devices.len() >= self.settings.max_devices {
            return Err(self.later(Some(Reject::OverLimit)));
        }
        let bind = Body::Bind(Box::new(Bind {
            certificate: admission.certificate,
            record: admission.record,
            binding: admission.binding,
            sealed_handle: admission.sealed_handle.0,
            group: admission.group,
            consent_version: admission.consent_version,
        }));
        let bound = NewEntry::for_patient(admission.slot, admission.key, bind);
        let written = async {
            self.log.append(bound).await?;
            self.put_device(device_of(admission, point)).await
        };
        written.await.map_err(|error| self.unfinished(error.into()))
    }

    /// Refuses a ticket that was spent by `first`, which is suspended: one of the two is a thief.
    async fn reused(&self, first: Kid) -> Outcome {
        if let Some(credential) = self.devices.find(first)
            && let Err(error) = self.suspend(&credential).await
        {
            return self.unfinished(error.into());
        }
        Outcome::Rejected(Reject::BadTicket)
    }

    fn unfinished(&self, error: IngestError) -> Outcome {
        match error {
            IngestError::Log(error) => {
                let limit = matches!(error, LogError::Full).then_some(Reject::OverLimit);
                self.log_failed(&error);
                self.later(limit)
            }
            error => {
                tracing::error!(%error, "nothing can be enrolled");
                self.failed.cancel();
                self.later(None)
            }
        }
    }

    fn later(&self, limit: Option<Reject>) -> Outcome {
        Outcome::RetryAfter {
            ms: u32::try_from(self.settings.retry_after.as_millis()).unwrap_or(u32::MAX),
            limit,
        }
    }
}

fn device_of(admission: &Admission, point: Point) -> Device {
    Device {
        device: admission.kid,
        point: point.0,
        record: record::digest(&admission.record),
        pseudonym: admission.pseudonym,
        key: admission.key,
        slot: admission.slot,
        group: admission.group,
        scope: admission.scope,
        status: DeviceStatus::Active,
    }
}
