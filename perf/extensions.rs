//! RabbitMQ's extensions as options of a flow of messages: what they ask of its queues, of its exchange and of each
//! message. Owns their names and how they go together; declares and publishes nothing.

use crate::options::{ArgumentValue, ExchangeType};
use clap::{Args, ValueEnum};

/// A queue's or an exchange's arguments.
pub type Arguments = Vec<(String, ArgumentValue)>;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Extensions")]
pub struct Extensions {
    /// Declare queues of this type; quorum queues are durable whatever else is said
    #[arg(long, value_enum)]
    pub queue_type: Option<QueueType>,
    /// Give messages so many priorities in turn, from 0 on, in queues that have as many levels
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub priorities: u8,
    /// Declare queues in which messages expire after so long
    #[arg(long, value_name = "MILLISECONDS")]
    pub message_ttl: Option<u32>,
    /// Publish with this expiration
    #[arg(long, value_name = "MILLISECONDS")]
    pub expiration: Option<u32>,
    /// Declare queues that hold so many messages at most; what is dropped or refused is expected to be missing
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "check")]
    pub max_length: Option<u32>,
    /// What a queue of --max-length does with one message more
    #[arg(long, value_enum, requires = "max_length")]
    pub overflow: Option<Overflow>,
    /// Declare queues that give to one of their consumers alone
    #[arg(long)]
    pub single_active_consumer: bool,
    /// Give each message a value of its own by which this looks for duplicates: the queues, or the exchange
    #[arg(long, value_enum)]
    pub deduplication: Option<Deduplication>,
    /// Values that an exchange remembers which looks for duplicates
    #[arg(long, default_value_t = 100_000, value_name = "VALUES", value_parser = clap::value_parser!(u32).range(1..))]
    pub cache_size: u32,
    /// Declare queues with an argument, which is a number, true, false or a text; may be said several times, and goes
    /// before what the options above ask for
    #[arg(long, value_name = "NAME=VALUE", value_parser = queue_argument)]
    pub queue_argument: Vec<(String, ArgumentValue)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum QueueType {
    Classic,
    Quorum,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Overflow {
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Deduplication {
    Queue,
    Exchange,
}

fn queue_argument(text: &str) -> Result<(String, ArgumentValue), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected")?;
    let value = match (value.parse(), value.parse()) {
        (Ok(number), _) => ArgumentValue::Number(number),
        (_, Ok(boolean)) => ArgumentValue::Boolean(boolean),
        _ => ArgumentValue::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

/// The text of a choice, as AMQP has it.
fn text(choice: impl ValueEnum) -> ArgumentValue {
    let value = choice.to_possible_value().expect("no choice is hidden");
    ArgumentValue::Text(value.get_name().to_owned())
}

impl Extensions {
    pub fn is_quorum(&self) -> bool {
        self.queue_type == Some(QueueType::Quorum)
    }

    /// What queues are declared with.
    pub fn queue_arguments(&self) -> Arguments {
        let mut arguments = self.queue_argument.clone();
        let mut add = |name: &str, value: Option<ArgumentValue>| {
            if let Some(value) = value
                && arguments.iter().all(|(known, _)| known != name)
            {
                arguments.push((name.to_owned(), value));
            }
        };
        // A quorum queue has its levels without being asked, and refuses to be.
        let levels = self.priorities > 1 && !self.is_quorum();
        add("x-queue-type", self.queue_type.map(text));
        add("x-max-priority", levels.then(|| ArgumentValue::Number(i64::from(self.priorities) - 1)));
        add("x-message-ttl", self.message_ttl.map(|ms| ArgumentValue::Number(ms.into())));
        add("x-max-length", self.max_length.map(|messages| ArgumentValue::Number(messages.into())));
        add("x-overflow", self.overflow.map(text));
        add("x-single-active-consumer", self.single_active_consumer.then_some(ArgumentValue::Boolean(true)));
        let in_queue = self.deduplication == Some(Deduplication::Queue);
        add("x-message-deduplication", in_queue.then_some(ArgumentValue::Boolean(true)));
        arguments
    }

    /// What an exchange of this type is declared with.
    pub fn exchange_arguments(&self, exchange_type: ExchangeType) -> Arguments {
        match exchange_type {
            ExchangeType::Delayed => vec![("x-delayed-type".to_owned(), ArgumentValue::Text("direct".to_owned()))],
            ExchangeType::MessageDeduplication => {
                vec![("x-cache-size".to_owned(), ArgumentValue::Number(self.cache_size.into()))]
            }
            _ => Vec::new(),
        }
    }

    pub fn parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        let arguments: Vec<String> =
            self.queue_arguments().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let parameters = serde_json::json!({
            "queue_arguments": arguments.join(" "),
            "priorities": self.priorities,
            "expiration": self.expiration,
            "deduplication": self.deduplication.map(|by| text(by).to_string()),
        });
        parameters.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        /// An option of flows that one of the extensions does not go with.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        extensions: Extensions,
    }

    fn queue_arguments(options: &str) -> String {
        let command_line = CommandLine::try_parse_from(format!("perf {options}").split_whitespace());
        let parameters = command_line.expect("these options are known").extensions.parameters();
        parameters["queue_arguments"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn options_become_arguments_of_the_queue() {
        assert_eq!(queue_arguments(""), "");
        assert_eq!(queue_arguments("--priorities 10 --message-ttl 60000"), "x-max-priority=9 x-message-ttl=60000");
        assert_eq!(
            queue_arguments("--max-length 5 --overflow reject-publish"),
            "x-max-length=5 x-overflow=reject-publish"
        );
        assert_eq!(queue_arguments("--single-active-consumer"), "x-single-active-consumer=true");
        assert_eq!(queue_arguments("--deduplication queue"), "x-message-deduplication=true");
        assert_eq!(queue_arguments("--deduplication exchange"), "", "the exchange looks for them");
    }

    #[test]
    fn quorum_queues_are_not_asked_for_levels() {
        assert_eq!(queue_arguments("--queue-type quorum --priorities 10"), "x-queue-type=quorum");
    }

    #[test]
    fn an_argument_that_is_said_stands() {
        let options = "--priorities 10 --queue-argument x-max-priority=4 --queue-argument x=y";
        assert_eq!(queue_arguments(options), "x-max-priority=4 x=y");
    }

    #[test]
    fn what_is_dropped_cannot_be_checked() {
        assert!(CommandLine::try_parse_from(["perf", "--max-length", "1", "--check"]).is_err());
        assert!(CommandLine::try_parse_from(["perf", "--overflow", "drop-head"]).is_err());
    }
}
