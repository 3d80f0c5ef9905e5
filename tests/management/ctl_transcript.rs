//! Transcripts of leveretctl: commands and what they print in text files, and their player.
//!
//! ```text
//! $ @rabbitmqctl ping       the command, under a name of RabbitMQ's; without one it is leveretctl's
//! $ add_user wf.u "a b"     the command; its arguments are separated by spaces, or quoted
//! < secret                  a line of standard input
//! > Adding user "wf.u" ...  a line of standard output
//! ! Error:                  a line of standard error; empty ones don't count
//! = 70                      the exit code, if it is not 0
//! ~> …, ~! …, ~= …          what rabbitmqctl 3.10.8 says instead of all that; `~` alone: it has no such command
//! # a remark
//! ```
//!
//! Names beginning with `wf.` get a prefix of their own in every play; `…` at the end of a line stands for its rest. `{node}`
//! is what the node is called, `{amqp}` and `{http}` are the ports at which it listens.
//! `LEVERET_TEST_RABBITMQCTL=PROGRAM` plays them with that program, and those of its kind from the same folder. The node is
//! then the one that `RABBITMQ_NODENAME` says, with the ports of `LEVERET_TEST_URI` and `LEVERET_TEST_MANAGEMENT_URI`.

use crate::server::{Server, run};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Default, PartialEq, Debug)]
struct Printed {
    output: Vec<String>,
    error: Vec<String>,
    code: i32,
}

#[derive(Default)]
struct Step {
    line: usize,
    arguments: Vec<String>,
    input: String,
    expected: Printed,
    reference: Option<Printed>,
    is_ours_alone: bool,
}

impl Printed {
    fn add(&mut self, line: &str) {
        let text = || line[1..].strip_prefix(' ').unwrap_or_default().to_owned();
        match &line[..1] {
            ">" => self.output.push(text()),
            "!" => self.error.push(text()),
            "=" => self.code = text().parse().expect("an exit code"),
            _ => panic!("what is that: {line}"),
        }
    }

    fn is_like(&self, actual: &Self) -> bool {
        let line = |(expected, actual): (&String, &String)| match expected.strip_suffix('…') {
            Some(beginning) => actual.starts_with(beginning),
            None => expected == actual,
        };
        let lines = |expected: &[String], actual: &[String]| {
            expected.len() == actual.len() && expected.iter().zip(actual).all(line)
        };
        self.code == actual.code && lines(&self.output, &actual.output) && lines(&self.error, &actual.error)
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: number + 1, arguments: split(command), ..Step::default() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let step = steps.last_mut().expect("a command before it");
            match line.split_at(1) {
                ("~", "") => step.is_ours_alone = true,
                ("~", rest) => step.reference.get_or_insert_default().add(rest),
                ("<", rest) => step.input.push_str(&format!("{}\n", rest.strip_prefix(' ').unwrap_or_default())),
                _ => step.expected.add(line),
            }
        }
    }
    steps
}

/// Words, of which some are in double or single quotes.
fn split(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in command.chars() {
        match (quote, character) {
            (Some(mark), _) if mark == character => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Plays a file.
pub fn play(text: &str) {
    static PLAYED: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("t{}-{}.", std::process::id(), PLAYED.fetch_add(1, Ordering::Relaxed));
    let text = text.replace("wf.", &prefix);
    let rabbitmqctl = std::env::var("LEVERET_TEST_RABBITMQCTL").ok();
    let server = rabbitmqctl.is_none().then(Server::start);
    let (node, amqp, http) = match &server {
        Some(server) => ("leveret@localhost".to_owned(), server.amqp.port(), server.management.port()),
        None => {
            let port = |variable: &str| variable.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
            let variable = |name: &str| std::env::var(name).unwrap_or_default();
            let [amqp, http] = ["LEVERET_TEST_URI", "LEVERET_TEST_MANAGEMENT_URI"].map(|name| port(&variable(name)));
            (variable("RABBITMQ_NODENAME"), amqp, http)
        }
    };
    let text = text.replace("{node}", &node).replace("{amqp}", &amqp.to_string()).replace("{http}", &http.to_string());
    for step in parse(&text) {
        let Step { line, mut arguments, input, mut expected, reference, is_ours_alone } = step;
        let tool = arguments.first().and_then(|first| first.strip_prefix('@')).map(str::to_owned);
        arguments.drain(..usize::from(tool.is_some()));
        let mut command = match (&server, &rabbitmqctl) {
            (Some(server), _) => tool.map_or_else(|| server.ctl_command(), |tool| server.tool(&tool)),
            (None, Some(_)) if is_ours_alone => continue,
            (None, Some(program)) => {
                expected = reference.unwrap_or(expected);
                Command::new(tool.map_or_else(|| program.into(), |tool| Path::new(program).with_file_name(tool)))
            }
            (None, None) => unreachable!("one of them"),
        };
        let (code, output, error) = run(command.args(&arguments), &input);
        let mut error = lines(&error);
        error.retain(|line| !line.is_empty());
        let actual = Printed { output: lines(&output), error, code };
        assert!(expected.is_like(&actual), "line {line}: {arguments:?}\n expected {expected:#?}\n and got {actual:#?}");
    }
}
