//! Random patterns of permissions against Erlang's `re:run`, which RabbitMQ asks: no name is let through here that is not let
//! through there.
//!
//! The other way round it happens on purpose: for patterns that are refused, at a newline, and beyond ASCII.

use crate::random::{Dice, seeds};
use leveret::access::Pattern;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

const PATTERNS_PER_SEED: usize = 400;
const PARTS_MAX: u64 = 7;
/// Of so many patterns, one excepts what begins like another one.
const EXCEPTING_ONE_IN: usize = 3;
const EXCEPTED_PARTS_MAX: u64 = 4;
const NAMES_PER_PATTERN: usize = 12;
const NAME_PARTS_MAX: u64 = 5;

/// What patterns are made of: what means something, what means something to one of the two alone, and halves of it.
#[rustfmt::skip]
const PARTS: [&str; 76] = [
    "a", "b", "B", "é", "1", ".", "-", "_", "{", "}", ",", ":", "&", "~", "<", " ", "#", "\n", "]",
    "\\.", "\\d", "\\D", "\\w", "\\W", "\\s", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\<", "\\>", "\\-", "\\é", "\\n", "\\x41",
    "\\1", "\\h", "\\R", "^", "$", "*", "+", "?", "??", "*?", "*+", "{2}", "{1,2}", "{,2}", "{2,}", "{a}", "|", "(", ")", "(?:",
    "(?i)", "(?i:", "(?s)", "(?-i)", "(?x)", "[ab]", "[^a]", "[^\\W]", "[a-c]", "[", "[]a]", "[^]a]", "[a[b]", "[a&&b]",
    "[[:alpha:]]", "[[:^digit:]]", "[\\w-.]", "[.-a]", "[\\b]", "[é]",
];
#[rustfmt::skip]
const NAME_PARTS: [&str; 24] = [
    "a", "b", "c", "A", "B", ".", "-", "_", "{", "}", "1", ",", "\n", " ", "é", "É", "[", "]", "&", "~", "<", ":", "\\", "\x08",
];

/// Reads lines of a pattern and names, in hexadecimal, and says of each name 1 or 0, or of the pattern that it is none.
const ESCRIPT: &str = r#"#!/usr/bin/env escript
main(_) -> io:setopts([{binary, true}]), loop().
bytes(Hex) -> << <<(binary_to_integer(<<A, B>>, 16))>> || <<A, B>> <= Hex >>.
loop() ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            [Pattern | Names] = binary:split(string:trim(Line, trailing), <<" ">>, [global]),
            case re:compile(bytes(Pattern)) of
                {error, _} -> io:format("none~n");
                {ok, Compiled} ->
                    Says = fun(Name) ->
                        case re:run(bytes(Name), Compiled, [{capture, none}]) of match -> $1; _ -> $0 end
                    end,
                    io:format("~s~n", [[Says(Name) || Name <- Names]])
            end,
            loop()
    end.
"#;

struct Question {
    pattern: String,
    names: Vec<Vec<u8>>,
}

impl Question {
    fn random(dice: &mut Dice) -> Self {
        let mut text = |parts: &[&str], most: u64| -> String {
            let count = 1 + dice.below(most);
            (0..count).map(|_| parts[dice.below(parts.len() as u64) as usize]).collect()
        };
        let mut pattern = text(&PARTS, PARTS_MAX);
        if pattern.len() % EXCEPTING_ONE_IN == 0 {
            pattern = format!("^(?!{}){pattern}", text(&PARTS, EXCEPTED_PARTS_MAX));
        }
        let names = (0..NAMES_PER_PATTERN).map(|_| text(&NAME_PARTS, NAME_PARTS_MAX).into_bytes()).collect();
        let mut question = Self { pattern, names };
        // Half a character.
        question.names.iter_mut().take(2).for_each(|name| drop(name.split_off(name.len() / 2 + 1)));
        question
    }

    fn line(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let names: Vec<String> = self.names.iter().map(|name| hex(name)).collect();
        format!("{} {}", hex(self.pattern.as_bytes()), names.join(" "))
    }

    /// What is wrong when Erlang says this of each name.
    fn complaint(&self, theirs: &str) -> Option<String> {
        let ours = Pattern::new(&self.pattern).ok()?;
        let differs = |(name, theirs): (&Vec<u8>, char)| {
            let ours = ours.matches(name);
            let exactly = name.is_ascii() && !name.contains(&b'\n');
            let is_wrong = ours && theirs == '0' || exactly && !ours && theirs == '1';
            is_wrong
                .then(|| format!("{:?} matches '{}': {ours}, in Erlang {theirs}", self.pattern, name.escape_ascii()))
        };
        self.names.iter().zip(theirs.chars()).find_map(differs)
    }
}

/// What Erlang says to each line, or `None` when there is none.
fn erlang(questions: &str) -> Option<String> {
    let folder = std::env::temp_dir().join(format!("leveret-patterns-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let (script, input) = (folder.join("re.escript"), folder.join("questions"));
    std::fs::write(&script, ESCRIPT).expect("a temporary file");
    std::fs::write(&input, questions).expect("a temporary file");
    let stdin = Stdio::from(File::open(&input).expect("just written"));
    let output = Command::new("escript").arg(&script).stdin(stdin).output();
    let _ = std::fs::remove_dir_all(&folder);
    let output = output.ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn no_name_is_let_through_that_erlang_would_not_let_through() {
    let (mut questions, mut lines) = (Vec::new(), String::new());
    for seed in seeds() {
        let mut dice = Dice(seed);
        questions.extend((0..PATTERNS_PER_SEED).map(|_| (seed, Question::random(&mut dice))));
    }
    questions
        .iter()
        .for_each(|(_, question)| writeln!(lines, "{}", question.line()).expect("a string takes everything"));
    let Some(answers) = erlang(&lines) else {
        let _ = writeln!(std::io::stderr(), "SKIP: no Erlang to compare patterns with");
        return;
    };
    assert_eq!(answers.lines().count(), questions.len());
    let mut compared = 0;
    for ((seed, question), theirs) in questions.iter().zip(answers.lines()) {
        if theirs == "none" {
            continue;
        }
        compared += usize::from(Pattern::new(&question.pattern).is_ok());
        if let Some(complaint) = question.complaint(theirs) {
            panic!("LEVERET_SEED={seed}\n{complaint}");
        }
    }
    assert!(compared > questions.len() / 4, "{compared} of {} patterns are some to both", questions.len());
}
