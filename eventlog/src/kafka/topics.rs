//! The topics on the broker: made if missing, and checked, because our promises rest on them.

use std::time::Duration;

use rdkafka::admin::{
    AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use tokio::time::{Instant, sleep};

use super::{Client, Durability, KafkaSettings, PAUSE, blocking, broker, passes};
use crate::{LogError, MAX_ENTRY_BYTES, Retention, Topic};

/// The least that a topic must let through: an entry with what Kafka adds.
const MESSAGE_BYTES: usize = MAX_ENTRY_BYTES + (64 << 10);

/// How long a topic that was just made may seem to have other settings: the broker that is asked
/// may not have heard of all of them yet.
const SETTLING: Duration = Duration::from_secs(3);

/// Checks what the settings say by themselves.
pub(super) fn check(settings: &KafkaSettings) -> Result<(), LogError> {
    let wrong = match settings.durability {
        _ if settings.partitions == 0 || settings.partitions > 1024 => {
            "the log must have between 1 and 1024 partitions"
        }
        Durability::Replicas { copies, in_sync } if in_sync < 2 || copies <= in_sync => {
            "of the log's copies at least two must be in sync, and one more must exist"
        }
        _ if settings.queue_bytes < 1 << 20 => "the log's queue must have room for a mebibyte",
        _ => return Ok(()),
    };
    Err(LogError::Settings(wrong.to_owned()))
}

/// One setting of a topic, and what it must be.
struct Rule {
    name: &'static str,
    value: String,
    /// Larger numbers do as well.
    at_least: bool,
}

fn rules(settings: &KafkaSettings, topic: Topic) -> Vec<Rule> {
    let exact = |name, value: &str| Rule {
        name,
        value: value.to_owned(),
        at_least: false,
    };
    let at_least = |name, value: usize| Rule {
        name,
        value: value.to_string(),
        at_least: true,
    };
    let policy = match topic.retention() {
        Retention::Compacted => "compact",
        Retention::Trimmed | Retention::Kept => "delete",
    };
    let mut rules = vec![
        exact("cleanup.policy", policy),
        // Only what every stage is past is deleted, and by us.
        exact("retention.ms", "-1"),
        exact("retention.bytes", "-1"),
        exact("unclean.leader.election.enable", "false"),
        exact("compression.type", "producer"),
        at_least("max.message.bytes", MESSAGE_BYTES),
    ];
    match settings.durability {
        Durability::Replicas { in_sync, .. } => {
            rules.push(at_least("min.insync.replicas", usize::from(in_sync)));
        }
        Durability::FlushEach => rules.push(exact("flush.messages", "1")),
    }
    rules
}

impl Rule {
    fn holds(&self, resource: &ConfigResource) -> bool {
        let entry = resource
            .entries
            .iter()
            .find(|entry| entry.name == self.name);
        let Some(value) = entry.and_then(|entry| entry.value.as_deref()) else {
            return false;
        };
        let number = |text: &str| text.parse::<u64>().ok();
        value == self.value
            || self.at_least
                && number(value)
                    .zip(number(&self.value))
                    .is_some_and(|(is, least)| is >= least)
    }
}

impl Client {
    /// Makes what is missing, checks what is there, and waits until every partition has a leader.
    pub(super) async fn prepare_topics(&self) -> Result<(), LogError> {
        let deadline = Instant::now() + self.settings.deadline;
        let mut created = false;
        loop {
            match self.missing().await? {
                Missing::Nothing => break,
                Missing::Topics(topics) if !created => {
                    if !self.settings.create_topics {
                        let names: Vec<_> = topics.iter().map(|topic| self.name(*topic)).collect();
                        let text = format!("topics are missing: {}", names.join(", "));
                        return Err(LogError::Settings(text));
                    }
                    self.create(&topics).await?;
                    created = true;
                }
                Missing::Topics(_) | Missing::Leaders => {}
            }
            if Instant::now() >= deadline {
                return Err(LogError::Deadline);
            }
            sleep(PAUSE).await;
        }
        self.check_topics().await
    }

    /// Asks what there is. Fails when a topic has another shape than the settings say.
    async fn missing(&self) -> Result<Missing, LogError> {
        let producer = self.producer.clone();
        let timeout = self.settings.deadline;
        let asked = blocking(move || producer.client().fetch_metadata(None, timeout));
        let metadata = match asked.await? {
            Ok(metadata) => metadata,
            Err(error) if passes(&error) => return Ok(Missing::Leaders),
            Err(error) => return Err(broker(error)),
        };
        let mut missing = Vec::new();
        let mut leaderless = false;
        for topic in Topic::ALL {
            let name = self.name(*topic);
            let known = metadata.topics().iter().find(|known| known.name() == name);
            let Some(known) = known else {
                missing.push(*topic);
                continue;
            };
            if known.partitions().is_empty() {
                leaderless = true;
                continue;
            }
            self.check_shape(name, known.partitions())?;
            leaderless |= known.partitions().iter().any(|part| part.leader() < 0);
        }
        Ok(if !missing.is_empty() {
            Missing::Topics(missing)
        } else if leaderless {
            Missing::Leaders
        } else {
            Missing::Nothing
        })
    }

    fn check_shape(
        &self,
        name: &str,
        partitions: &[rdkafka::metadata::MetadataPartition],
    ) -> Result<(), LogError> {
        let expected = self.settings.partitions as usize;
        if partitions.len() != expected {
            let count = partitions.len();
            let text =
                format!("the topic {name} has {count} partitions, the settings say {expected}");
            return Err(LogError::Settings(text));
        }
        let copies = usize::from(self.settings.durability.copies());
        if partitions.iter().any(|part| part.replicas().len() < copies) {
            let text = format!("the topic {name} has fewer than {copies} copies");
            return Err(LogError::Settings(text));
        }
        Ok(())
    }

    async fn create(&self, topics: &[Topic]) -> Result<(), LogError> {
        let rules: Vec<_> = topics
            .iter()
            .map(|topic| rules(&self.settings, *topic))
            .collect();
        let partitions = i32::try_from(self.settings.partitions).unwrap_or(i32::MAX);
        let copies = i32::from(self.settings.durability.copies());
        let new = topics.iter().zip(&rules).map(|(topic, rules)| {
            let replication = TopicReplication::Fixed(copies);
            let new = NewTopic::new(self.name(*topic), partitions, replication);
            rules
                .iter()
                .fold(new, |new, rule| new.set(rule.name, &rule.value))
        });
        let new: Vec<_> = new.collect();
        let made = self.admin.create_topics(&new, &self.options()).await;
        for topic in made.map_err(broker)? {
            match topic {
                // Another process was quicker.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    let text = format!("the topic {name} could not be made: {code}");
                    return Err(LogError::Broker(text));
                }
            }
        }
        Ok(())
    }

    async fn check_topics(&self) -> Result<(), LogError> {
        let deadline = Instant::now() + self.settings.deadline;
        let settled = deadline.min(Instant::now() + SETTLING);
        let topics = Topic::ALL.iter().map(|topic| self.name(*topic));
        let resources: Vec<_> = topics.map(ResourceSpecifier::Topic).collect();
        loop {
            let asked = self.admin.describe_configs(&resources, &self.options());
            let described: Result<Vec<_>, _> = asked.await.map_err(broker)?.into_iter().collect();
            match described {
                Ok(described) => match self.check_rules(&described) {
                    Err(_) if Instant::now() < settled => sleep(PAUSE).await,
                    checked => return checked,
                },
                Err(_) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(code) => {
                    let text = format!("the topics' settings cannot be read: {code}");
                    return Err(LogError::Broker(text));
                }
            }
        }
    }

    fn check_rules(&self, described: &[ConfigResource]) -> Result<(), LogError> {
        for topic in Topic::ALL {
            let of_topic = |resource: &&ConfigResource| match &resource.specifier {
                OwnedResourceSpecifier::Topic(name) => name == self.name(*topic),
                _ => false,
            };
            let resource = described.iter().find(of_topic);
            for rule in rules(&self.settings, *topic) {
                if !resource.is_some_and(|resource| rule.holds(resource)) {
                    let than = if rule.at_least { "at least " } else { "" };
                    let (name, setting, value) = (self.name(*topic), rule.name, rule.value);
                    let text = format!("the topic {name} must have {setting} {than}{value}");
                    return Err(LogError::Settings(text));
                }
            }
        }
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .operation_timeout(Some(self.settings.deadline))
            .request_timeout(Some(self.settings.deadline))
    }
}

enum Missing {
    Nothing,
    Topics(Vec<Topic>),
    Leaders,
}

impl Durability {
    const fn copies(self) -> u16 {
        match self {
            Self::Replicas { copies, .. } => copies,
            Self::FlushEach => 1,
        }
    }
}
