//! The second rabbitmqadmin, which is written in Rust, has other words for the same: `queues declare --name q` and `declare queue
//! --name q` are `declare queue name=q` here. Whatever it is that was said becomes what the first one takes.

/// Options of the command line as a whole that have a value, in either program.
const VALUED: [&str; 18] = [
    "config",
    "node",
    "host",
    "port",
    "vhost",
    "username",
    "password",
    "base-uri",
    "request-timeout",
    "format",
    "sort",
    "depth",
    "cacert",
    "ssl-ca-cert-file",
    "tls-ca-cert-file",
    "ssl-cert-file",
    "tls-cert-file",
    "ssl-key-file",
];
/// The same, those with names of their own here.
const RENAMED: [(&str, &str); 2] = [("tls-key-file", "ssl-key-file"), ("timeout", "request-timeout")];
const FLAGS: [&str; 12] = [
    "quiet",
    "sort-reverse",
    "bash-completion",
    "version",
    "help",
    "ssl",
    "use-tls",
    "ssl-insecure",
    "disable-tls-peer-verification",
    "insecure",
    "ssl-disable-hostname-verification",
    "verbose",
];
const SHORT_VALUED: &str = "cNHPVupUtfSd";
/// What means nothing here: tables have one style, and nobody is asked.
const NOTHING: [&str; 4] = ["non-interactive", "idempotently", "approve", "strict"];
const NOTHING_VALUED: [&str; 1] = ["table-style"];

/// What there is many of, and what one of them is called.
const PLURALS: [(&str, &str); 11] = [
    ("queues", "queue"),
    ("exchanges", "exchange"),
    ("bindings", "binding"),
    ("vhosts", "vhost"),
    ("users", "user"),
    ("permissions", "permission"),
    ("parameters", "parameter"),
    ("policies", "policy"),
    ("operator_policies", "operator_policy"),
    ("vhost_limits", "vhost_limit"),
    ("connections", "connection"),
];
const VERBS: [&str; 8] = ["list", "declare", "delete", "close", "purge", "publish", "get", "show"];

/// What was said of the object, and of the rest.
#[derive(Default)]
struct Said {
    options: Vec<String>,
    words: Vec<String>,
    of_object: Vec<(String, String)>,
    vhost: Option<String>,
}

/// A command line as the first one takes it.
pub fn translated(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut arguments = arguments.into_iter().peekable();
    let mut line: Vec<String> = arguments.next().into_iter().collect();
    let mut said = Said::default();
    while let Some(argument) = arguments.next() {
        let next = || arguments.next_if(|next| !next.starts_with("--"));
        if let Some(option) = argument.strip_prefix("--").filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let value = value.map(str::to_owned);
            let name = name.replace('_', "-");
            if NOTHING_VALUED.contains(&&*name) {
                value.or_else(next);
            } else if FLAGS.contains(&&*name) {
                said.options.push(argument);
            } else if let Some(renamed) = said.global(&name) {
                let value = value.or_else(next);
                if name == "vhost" {
                    said.vhost.clone_from(&value);
                }
                said.options.push(format!("--{renamed}"));
                said.options.extend(value);
            } else if !NOTHING.contains(&&*name) {
                let value = value.or_else(next).unwrap_or_else(|| "true".to_owned());
                said.of_object.push((name, value));
            }
        } else if let Some(letter) = argument.strip_prefix('-').filter(|letters| letters.len() == 1) {
            let value = SHORT_VALUED.contains(letter).then(|| arguments.next()).flatten();
            if letter == "V" {
                said.vhost.clone_from(&value);
            }
            said.options.push(argument);
            said.options.extend(value);
        } else if argument.starts_with('-') && argument.len() > 1 {
            said.options.push(argument);
        } else {
            said.words.push(argument);
        }
    }
    line.append(&mut said.options);
    line.extend(said.into_words());
    line
}

impl Said {
    /// The name of an option that is about the command line as a whole. Users that are declared, and what they are permitted,
    /// have names and passwords of their own, where the second one's words are said.
    fn global(&self, name: &str) -> Option<String> {
        let says = |wanted: &[&str]| self.words.iter().any(|word| wanted.contains(&&**word));
        let is_of_user = says(&["user", "users", "permission", "permissions"]) && says(&["declare", "delete"]);
        let is_first = self.words.iter().any(|word| word.contains('='));
        let is_own = name == "username" || name == "password" && !self.of_object.is_empty();
        if is_of_user && !is_first && is_own {
            return None;
        }
        let renamed = RENAMED.iter().find(|(before, _)| *before == name).map(|(_, after)| *after);
        renamed.or_else(|| VALUED.into_iter().find(|known| *known == name)).map(str::to_owned)
    }

    fn into_words(self) -> Vec<String> {
        let Self { mut words, of_object, vhost, .. } = self;
        if words.len() >= 2 && VERBS.contains(&&*words[1]) && !VERBS.contains(&&*words[0]) {
            words.swap(0, 1);
        }
        if let [first, second, ..] = &mut words[..]
            && first == "exchanges"
            && let Some(verb) = [("bind", "declare"), ("unbind", "delete")].iter().find(|(known, _)| known == second)
        {
            (*first, *second) = (verb.1.to_owned(), "binding".to_owned());
        }
        let value = |wanted: &str| of_object.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        match all[..] {
            ["definitions", way @ ("export" | "import"), ..] => {
                let way = way.to_owned();
                return [Some(way), value("file")].into_iter().flatten().collect();
            }
            ["publish" | "get", "message" | "messages", ..] => drop(words.remove(1)),
            ["list", ..] => {
                let columns = value("columns").unwrap_or_default();
                words.extend(columns.split(',').filter(|column| !column.is_empty()).map(str::to_owned));
                return words;
            }
            ["declare" | "delete" | "close" | "purge", what, ..] => {
                if let Some((_, one)) = PLURALS.iter().find(|(many, _)| *many == what) {
                    words[1] = (*one).to_owned();
                }
            }
            _ => {}
        }
        let what = words.get(1).cloned().unwrap_or_default();
        let has_vhost = words.iter().any(|word| word.starts_with("vhost="));
        words.extend(of_object.into_iter().map(|(name, value)| match name.as_str() {
            "type" if what == "queue" => format!("queue_type={value}"),
            "username" if what == "permission" => format!("user={value}"),
            "username" if what == "user" => format!("name={value}"),
            "ack-mode" => format!("ackmode={value}"),
            "apply-to" => format!("apply-to={value}"),
            name => format!("{}={value}", name.replace('-', "_")),
        }));
        if matches!(what.as_str(), "permission" | "vhost_limit") && !has_vhost && words.len() > 2 {
            words.push(format!("vhost={}", vhost.as_deref().unwrap_or("/")));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_say_the_same() {
        let translated = |line: &str| {
            let words = std::iter::once("rabbitmqadmin").chain(line.split(' ')).map(str::to_owned);
            translated(words)[1..].join(" ")
        };
        for (second, first) in [
            ("queues list", "list queues"),
            ("list queues --columns name,messages", "list queues name messages"),
            (
                "--vhost v queues declare --name q --type quorum --durable true",
                "--vhost v declare queue name=q queue_type=quorum durable=true",
            ),
            ("declare queue --name=q --auto-delete", "declare queue name=q auto_delete=true"),
            ("-V v -H h exchanges declare --name x --type fanout", "-V v -H h declare exchange name=x type=fanout"),
            (
                "bindings declare --source x --destination-type queue --destination q --routing-key k",
                "declare binding source=x destination_type=queue destination=q routing_key=k",
            ),
            (
                "--password admin users declare --name u --password pw --tags management",
                "--password admin declare user name=u password=pw tags=management",
            ),
            (
                "-V v permissions declare --user u --configure a --read b --write c",
                "-V v declare permission user=u configure=a read=b write=c vhost=v",
            ),
            (
                "policies declare --name p --pattern ^q --apply-to queues --definition {}",
                "declare policy name=p pattern=^q apply-to=queues definition={}",
            ),
            (
                "permissions declare --username u --configure a --read b --write c",
                "declare permission user=u configure=a read=b write=c vhost=/",
            ),
            (
                "--username admin users declare --username u --password pw --tags t",
                "--username admin declare user name=u password=pw tags=t",
            ),
            (
                "exchanges bind --source x --destination-type queue --destination q",
                "declare binding source=x destination_type=queue destination=q",
            ),
            ("queues purge --name q --idempotently", "purge queue name=q"),
            ("connections close --name c", "close connection name=c"),
            ("messages publish --routing-key q --payload p", "publish routing_key=q payload=p"),
            ("publish message --exchange x --routing-key q --payload p", "publish exchange=x routing_key=q payload=p"),
            (
                "get messages --queue q --count 2 --ack-mode ack_requeue_true",
                "get queue=q count=2 ackmode=ack_requeue_true",
            ),
            ("--non-interactive --table-style ascii definitions export --file f", "export f"),
            (
                "--use-tls --tls-ca-cert-file ca.pem --tls-key-file k show overview",
                "--use-tls --tls-ca-cert-file ca.pem --ssl-key-file k show overview",
            ),
            ("--timeout 5 nodes list", "--request-timeout 5 list nodes"),
        ] {
            assert_eq!(translated(second), first, "{second}");
        }
        // What the first one takes stays what it is, but that options come first.
        for (said, taken) in [
            (
                "-V wf.v -S name -R -f tsv list queues name arguments.x",
                "-V wf.v -S name -R -f tsv list queues name arguments.x",
            ),
            ("list exchanges --format=long name type -S name -R", "--format long -S name -R list exchanges name type"),
            (
                "declare permission vhost=v user=g configure=.* write=.* read=.*",
                "declare permission vhost=v user=g configure=.* write=.* read=.*",
            ),
            (
                "declare user name=u password=p tags= --password admin",
                "--password admin declare user name=u password=p tags=",
            ),
            ("help subcommands", "help subcommands"),
            ("publish routing_key=-", "publish routing_key=-"),
        ] {
            assert_eq!(translated(said), taken);
        }
    }
}
