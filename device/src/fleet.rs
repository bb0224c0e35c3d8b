//! A simulated fleet: real devices with simulated patients, on one machine.

mod body;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pulseward_base::{Clock, Micros, Reject};
use pulseward_crypto::SigningKey;
use pulseward_vitals::{Columns, Leaf};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use body::{Body, Script};

use crate::{
    backoff::Backoff,
    clock::DeviceClock,
    dice::Dice,
    enrol::{EnrolError, Identity, enrol},
    ledger::Ledger,
    link::LinkSettings,
    queue::{MemoryQueue, QueueLimits, new_incarnation},
    uplink::{Counts, Device},
};

/// What the fleet is and does.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// Where the service is.
    pub link: LinkSettings,
    /// One ticket slip for each device.
    pub tickets: Vec<Vec<u8>>,
    /// How often a device makes a batch.
    pub interval: Duration,
    /// How many readings of each fast vital a batch has.
    pub samples: u16,
    /// What all simulated chance comes from.
    pub seed: u64,
    /// How many patients fall ill: the first ones.
    pub deteriorating: usize,
    /// When the first of them falls ill; each next one follows one `ramp` later.
    pub onset: Duration,
    /// How long falling ill takes.
    pub ramp: Duration,
    /// How many devices fall silent: the last ones.
    pub silent: usize,
    /// When they fall silent.
    pub silent_after: Duration,
    /// How much may wait in each device.
    pub queue: QueueLimits,
    /// How many batches each ledger holds.
    pub ledger_limit: usize,
    /// How many devices enrol at the same time.
    pub enrol_at_once: usize,
    /// The first wait after a lost stream.
    pub first_wait: Duration,
    /// The longest wait after a lost stream.
    pub longest_wait: Duration,
}

impl FleetSettings {
    /// Returns the usual fleet for these tickets.
    #[must_use]
    pub fn new(link: LinkSettings, tickets: Vec<Vec<u8>>) -> Self {
        Self {
            link,
            tickets,
            interval: Duration::from_secs(1),
            samples: 4,
            seed: 1,
            deteriorating: 2,
            onset: Duration::from_secs(2),
            ramp: Duration::from_secs(5),
            silent: 1,
            silent_after: Duration::from_secs(8),
            queue: QueueLimits::default(),
            ledger_limit: 1_000_000,
            enrol_at_once: 16,
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(2),
        }
    }

    fn script(&self, number: usize) -> Script {
        if number < self.deteriorating {
            let turn = u32::try_from(number).unwrap_or(u32::MAX);
            return Script::Deteriorates {
                onset: self.onset.saturating_add(self.ramp.saturating_mul(turn)),
                ramp: self.ramp,
            };
        }
        if number >= self.tickets.len().saturating_sub(self.silent) {
            return Script::FallsSilent {
                after: self.silent_after,
            };
        }
        Script::Stable
    }
}

/// What a device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no record yet.
    Enrolling,
    /// It was refused for good.
    Refused(Reject),
    /// It sends.
    Sending,
    /// It is switched off, as its script says.
    Silent,
}

/// One device as a table shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its number in the fleet, from 0.
    pub number: usize,
    /// What happens to its patient.
    pub script: Script,
    /// What it is at.
    pub phase: Phase,
    /// What it has sent and heard.
    pub counts: Counts,
    /// How many batches wait.
    pub waiting: usize,
    /// When its last answer came, and how long that took.
    pub last_answer: Option<(Micros, Duration)>,
    /// The last code that a batch of it was refused with.
    pub last_reject: Option<Reject>,
}

/// The fleet as a table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSnapshot {
    /// Its devices, by number.
    pub devices: Vec<DeviceView>,
    /// The sum of their counts.
    pub total: Counts,
    /// How many batches wait.
    pub waiting: usize,
    /// The middle of the latest answers' times.
    pub ack_p50: Duration,
    /// What 99 of 100 of them stay below.
    pub ack_p99: Duration,
}

/// One place in the fleet.
#[derive(Debug)]
struct Berth {
    number: usize,
    script: Script,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    device: Option<Device>,
}

impl Berth {
    fn set(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self) -> Option<Device> {
        self.lock().device.clone()
    }

    fn view(&self) -> DeviceView {
        let state = self.lock();
        let device = state.device.as_ref();
        DeviceView {
            number: self.number,
            script: self.script,
            phase: state.phase,
            counts: device.map(Device::counts).unwrap_or_default(),
            waiting: device.map_or(0, Device::waiting),
            last_answer: device.and_then(Device::last_answer),
            last_reject: device.and_then(Device::last_reject),
        }
    }
}

/// A fleet that runs.
#[derive(Debug)]
pub struct Fleet {
    berths: Vec<Arc<Berth>>,
    tasks: JoinSet<()>,
    /// Ends collecting.
    collect: CancellationToken,
    /// Those that collect.
    collectors: TaskTracker,
    /// Ends sending.
    send: CancellationToken,
}

impl Fleet {
    /// Starts every device.
    #[must_use]
    pub fn start(settings: FleetSettings, clock: Arc<dyn Clock>) -> Self {
        let mut dice = Dice::new(settings.seed);
        let berth = |number| {
            Arc::new(Berth {
                number,
                script: settings.script(number),
                state: Mutex::new(State {
                    phase: Phase::Enrolling,
                    device: None,
                }),
            })
        };
        let berths: Vec<_> = (0..settings.tickets.len()).map(berth).collect();
        let crew = Arc::new(Crew {
            enrolling: Semaphore::new(settings.enrol_at_once.max(1)),
            start: clock.monotonic(),
            clock,
            collect: CancellationToken::new(),
            collectors: TaskTracker::new(),
            send: CancellationToken::new(),
            settings,
        });
        let mut tasks = JoinSet::new();
        for berth in &berths {
            let (crew, berth, dice) = (Arc::clone(&crew), Arc::clone(berth), dice.fork());
            tasks.spawn(async move { crew.live(&berth, dice).await });
        }
        Self {
            berths,
            tasks,
            collect: crew.collect.clone(),
            collectors: crew.collectors.clone(),
            send: crew.send.clone(),
        }
    }

    /// Returns how the fleet stands.
    #[must_use]
    pub fn snapshot(&self) -> FleetSnapshot {
        let devices: Vec<_> = self.berths.iter().map(|berth| berth.view()).collect();
        let mut total = Counts::default();
        for view in &devices {
            total.add(&view.counts);
        }
        let devices_now = self.berths.iter().filter_map(|berth| berth.device());
        let mut took: Vec<Duration> = devices_now.flat_map(|device| device.latest()).collect();
        took.sort_unstable();
        let share = |percent: usize| {
            let at = (took.len().saturating_sub(1)) * percent / 100;
            took.get(at).copied().unwrap_or_default()
        };
        FleetSnapshot {
            total,
            waiting: devices.iter().map(|view| view.waiting).sum(),
            ack_p50: share(50),
            ack_p99: share(99),
            devices,
        }
    }

    /// Returns whether every device has its record, or was refused one.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        let enrols = |berth: &Arc<Berth>| berth.lock().phase == Phase::Enrolling;
        !self.berths.iter().any(enrols)
    }

    /// Returns the ledgers as they stand.
    #[must_use]
    pub fn ledgers(&self) -> Vec<Ledger> {
        let devices = self.berths.iter().filter_map(|berth| berth.device());
        devices.map(|device| device.ledger()).collect()
    }

    /// Stops collecting, drains the queues for at most `patience`, and returns the ledgers.
    pub async fn stop(mut self, patience: Duration) -> Vec<Ledger> {
        self.collect.cancel();
        self.collectors.close();
        let drained = async {
            // One that is about to make a batch makes it now; a queue is empty for good only behind it.
            self.collectors.wait().await;
            for device in self.berths.iter().filter_map(|berth| berth.device()) {
                device.drained().await;
            }
        };
        // What is not drained in time stays in the ledgers as unanswered.
        let is_drained = tokio::time::timeout(patience, drained).await.is_ok();
        tracing::debug!(is_drained, "the fleet stops");
        self.send.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a simulated device failed");
            }
        }
        self.ledgers()
    }
}

/// What all devices of a fleet share.
struct Crew {
    settings: FleetSettings,
    clock: Arc<dyn Clock>,
    start: Duration,
    enrolling: Semaphore,
    collect: CancellationToken,
    collectors: TaskTracker,
    send: CancellationToken,
}

impl Crew {
    async fn live(&self, berth: &Berth, mut dice: Dice) {
        let clock = DeviceClock::new(Arc::clone(&self.clock), Micros(0));
        let mut backoff = Backoff::new(
            self.settings.first_wait,
            self.settings.longest_wait,
            dice.fork(),
        );
        let enrolled = tokio::select! {
            () = self.collect.cancelled() => return,
            enrolled = self.enrol(berth, &clock, &mut backoff) => enrolled,
        };
        let Some(identity) = enrolled else { return };
        let incarnation = new_incarnation(clock.now());
        let queue = MemoryQueue::new(incarnation, self.settings.queue);
        let limit = self.settings.ledger_limit;
        let device = Device::new(identity, clock, Vec::new(), Box::new(queue), limit);
        *berth.lock() = State {
            phase: Phase::Sending,
            device: Some(device.clone()),
        };
        backoff.reset();
        let sending = device.run(&self.settings.link, backoff, self.send.clone());
        let collecting = self.collect(berth, &device, &mut dice);
        let collecting = self.collectors.track_future(collecting);
        let (sent, ()) = tokio::join!(sending, collecting);
        if let Err(error) = sent {
            tracing::error!(%error, "a simulated device lost its queue");
        }
    }

    async fn enrol(
        &self,
        berth: &Berth,
        clock: &DeviceClock,
        backoff: &mut Backoff,
    ) -> Option<Identity> {
        let slip = self.settings.tickets.get(berth.number)?;
        let key = Arc::new(SigningKey::generate());
        loop {
            let enrolled = {
                let _turn = self.enrolling.acquire().await.ok()?;
                enrol(&self.settings.link, clock, Arc::clone(&key), slip, &[]).await
            };
            match enrolled {
                Ok(identity) => return Some(identity),
                Err(EnrolError::Rejected(reject) | EnrolError::Slip(reject)) => {
                    berth.set(Phase::Refused(reject));
                    return None;
                }
                Err(error @ (EnrolError::Link(_) | EnrolError::Record(_))) => {
                    tracing::debug!(%error, "a simulated device enrols once more");
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    async fn collect(&self, berth: &Berth, device: &Device, dice: &mut Dice) {
        let step = self.settings.interval;
        let mut body = Body::new(dice.roll(), berth.script);
        // Devices are not in step with each other.
        let phase = step.mul_f64(dice.unit());
        let mut ticks = interval_at(Instant::now() + phase, step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.collect.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let at = self.clock.monotonic().saturating_sub(self.start);
            if !berth.script.sends(at) {
                berth.set(Phase::Silent);
                return;
            }
            let leaves = body.read(at, self.clock.now(), step, self.settings.samples);
            let scope = device.identity().scope;
            let allowed = leaves.into_iter().filter(|leaf| is_in_scope(leaf, scope));
            let collected = Columns::new(allowed.collect())
                .map_err(crate::CollectError::Readings)
                .and_then(|columns| device.collect(&columns));
            if let Err(error) = collected {
                tracing::warn!(%error, "a simulated device could not keep a batch");
            }
        }
    }
}

fn is_in_scope(leaf: &Leaf, scope: u64) -> bool {
    let bit = 1_u64.checked_shl(u32::from(leaf.kind.spec().number));
    bit.is_some_and(|bit| scope & bit != 0)
}
