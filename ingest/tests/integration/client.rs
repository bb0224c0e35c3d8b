//! A device that a test leads by the hand, message by message.

use pulseward_base::{Incarnation, Micros, Seq};
use pulseward_batch::{NewBatch, SignedBatch, digest::Place};
use pulseward_crypto::{
    SigningKey,
    client::ClientSession,
    frame::{AdmissionToken, Answer, DownFrame, Status, UpFrame},
    hello::Resume,
    offer::ClientOffer,
};
use pulseward_device::{
    Identity, LinkError, LinkSettings,
    link::{Link, connect},
};

use crate::house::{House, reading};

/// A stream with a session in it.
pub struct Client {
    pub link: Link,
    pub session: ClientSession,
    pub status: Status,
    pub hello: Vec<u8>,
}

impl Client {
    pub async fn enter(
        house: &House,
        link: &LinkSettings,
        identity: &Identity,
        incarnation: Incarnation,
    ) -> Result<Self, LinkError> {
        Self::enter_as(house, link, identity, &identity.key, incarnation).await
    }

    /// Says hello with any key.
    pub async fn enter_as(
        house: &House,
        settings: &LinkSettings,
        identity: &Identity,
        key: &SigningKey,
        incarnation: Incarnation,
    ) -> Result<Self, LinkError> {
        let clock = house.device_clock();
        let mut link = Link::open(connect(settings).await?, settings).await?;
        let mut said = Vec::new();
        let resume = Resume {
            incarnation,
            last_acknowledged: None,
        };
        let hello = |offer: &ClientOffer| {
            let context = identity.context();
            let (message, pending) =
                offer.hello_stream(key, &context, clock.now(), resume, AdmissionToken::NONE)?;
            said.clone_from(&message);
            Ok((message, pending))
        };
        let (session, status) = link
            .be_welcomed(&identity.root, &clock, None, hello)
            .await?;
        Ok(Self {
            link,
            session,
            status,
            hello: said,
        })
    }

    /// Sends payloads as batches, without waiting for answers. Returns the frames.
    pub async fn send(&mut self, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for payload in payloads {
            let frame = self.session.seal(&UpFrame::Batch(payload.clone())).unwrap();
            self.link.send_frame(frame.clone()).await.unwrap();
            frames.push(frame);
        }
        frames
    }

    /// Waits for `count` answers.
    pub async fn answers(&mut self, count: usize) -> Result<Vec<Answer>, LinkError> {
        let mut all = Vec::new();
        while all.len() < count {
            if let DownFrame::Answers(answers) = self.link.frame_soon(&mut self.session).await? {
                all.extend(answers.answers);
            }
        }
        Ok(all)
    }

    /// Sends one payload and waits for its answer.
    pub async fn ask(&mut self, payload: &[u8]) -> Result<Answer, LinkError> {
        self.send(&[payload.to_vec()]).await;
        Ok(self.answers(1).await?[0])
    }

    /// Waits for the stream's end and returns the service's word for it.
    pub async fn end(mut self) -> Option<String> {
        end_of(&mut self.link).await
    }
}

/// Waits for a stream's end and returns the service's word for it.
pub async fn end_of(link: &mut Link) -> Option<String> {
    loop {
        if let Err(error) = link.next_soon().await {
            return error.word().map(str::to_owned);
        }
    }
}

/// Signs one reading as number `seq` of a queue.
pub fn batch(identity: &Identity, incarnation: Incarnation, seq: u64, value: i32) -> SignedBatch {
    batch_at(identity, incarnation, seq, value, now())
}

pub fn batch_at(
    identity: &Identity,
    incarnation: Incarnation,
    seq: u64,
    value: i32,
    time: Micros,
) -> SignedBatch {
    let place = Place {
        incarnation,
        seq: Seq(seq),
        time,
    };
    NewBatch::new(place, &reading(time, value)).sign(&identity.key, &identity.context())
}

pub fn now() -> Micros {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Micros(i64::try_from(since.as_micros()).unwrap())
}
