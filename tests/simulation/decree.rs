//! What those who administer the broker decree: virtual hosts, users, permissions and limits, as values that the model
//! understands and as calls of the broker's commands, as its HTTP API makes them.

use crate::model::Model;
use crate::random::Random;
use leveret::access::{PasswordHash, Pattern, Tags};
use leveret::broker::store::LogPosition;
use leveret::broker::{Permissions, TopicPermissions, UserId, UserLimits, VhostAttributes, VhostId};
use leveret::protocol::ShortString;
use leveret::server::Hub;
use leveret::storage::LogStore;

/// The first is there from the beginning, and always.
pub const VHOSTS: [&str; 4] = ["/", "a", "v", "w"];
/// The first is there from the beginning, and always; it may do everything in the first virtual host.
pub const USERS: [&str; 4] = ["guest", "a", "b.", "c"];
/// Whose passwords take a while to be checked.
pub const LATE_USER: &str = USERS[3];
const SECRETS: [&str; 2] = ["secret", "another"];
const TAGS: [&str; 3] = ["", "administrator", "monitoring"];
/// Exchanges of type topic, or perhaps.
const TOPIC_EXCHANGES: [&str; 5] = ["amq.topic", "amq.topic", "x0", "x1", "x2"];

/// Patterns of names, and what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    All,
    Nothing,
    Queues,
    NoQueues,
    Even,
}

impl Names {
    pub fn text(self) -> &'static str {
        match self {
            Self::All => ".*",
            Self::Nothing => "",
            Self::Queues => "^q",
            Self::NoQueues => "^(x|amq\\.)",
            Self::Even => "^[qx][024]$",
        }
    }

    pub fn contain(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Queues => name.starts_with('q'),
            Self::NoQueues => name.starts_with('x') || name.starts_with("amq."),
            Self::Even => ["q0", "q2", "q4", "x0", "x2", "x4"].contains(&name),
        }
    }
}

/// Patterns of routing keys, and what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    All,
    Nothing,
    WithA,
    /// Those that start with the user's name.
    Own,
    /// The name of the virtual host.
    Here,
}

impl Keys {
    pub fn text(self) -> &'static str {
        match self {
            Self::All => ".*",
            Self::Nothing => "",
            Self::WithA => "^a",
            Self::Own => "^{username}",
            Self::Here => "^{vhost}$",
        }
    }

    pub fn contain(self, key: &str, user: &str, vhost: &str) -> bool {
        match self {
            Self::All => true,
            // It is read as `^$`.
            Self::Nothing => key.is_empty(),
            Self::WithA => key.starts_with('a'),
            Self::Own => key.starts_with(user),
            Self::Here => key == vhost,
        }
    }
}

/// What is said of a user, apart from limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserWords {
    pub name: String,
    pub secret: &'static str,
    pub salt: [u8; 4],
    pub tag: &'static str,
}

impl UserWords {
    /// Who is there before anybody else.
    pub fn guest() -> Self {
        Self { name: "guest".to_owned(), secret: "guest", salt: [0; 4], tag: "administrator" }
    }

    pub fn hash(&self) -> PasswordHash {
        PasswordHash::salted_sha256(self.secret.as_bytes(), self.salt)
    }

    fn tags(&self) -> Tags {
        Tags::new(Some(self.tag).filter(|tag| !tag.is_empty())).expect("one is not too many")
    }
}

#[derive(Clone, Debug)]
pub enum Decree {
    PutVhost {
        name: String,
        attributes: VhostAttributes,
    },
    DeleteVhost {
        name: String,
    },
    /// A new one, or another password and tag.
    PutUser(UserWords),
    LimitUser {
        name: String,
        limits: UserLimits,
    },
    DeleteUser {
        name: String,
    },
    /// To configure, write, read.
    Permit {
        user: String,
        vhost: String,
        names: [Names; 3],
    },
    Forbid {
        user: String,
        vhost: String,
    },
    /// To write, read.
    PermitTopics {
        user: String,
        vhost: String,
        exchange: String,
        keys: [Keys; 2],
    },
    ForbidTopics {
        user: String,
        vhost: String,
        exchange: Option<&'static str>,
    },
}

fn names(random: &mut Random) -> Names {
    use Names::*;
    *random.pick(&[All, All, All, All, Nothing, Queues, NoQueues, Even, Even])
}

fn keys(random: &mut Random) -> Keys {
    *random.pick(&[Keys::All, Keys::Nothing, Keys::WithA, Keys::WithA, Keys::WithA, Keys::Own, Keys::Here])
}

fn limit(random: &mut Random, choices: &[u64]) -> Option<u64> {
    random.percent(25).then(|| *random.pick(choices))
}

fn attributes(random: &mut Random, is_first: bool) -> VhostAttributes {
    let limit = |random: &mut Random, choices: &[u64]| if is_first { None } else { limit(random, choices) };
    VhostAttributes {
        description: (*random.pick(&["", "Default virtual host", "für alle"])).into(),
        tags: vec!["t".into(); random.below(3)],
        default_queue_type: random.percent(20).then(|| "classic".into()),
        tracing: random.percent(30),
        queues_max: limit(random, &[0, 2, 5]),
        connections_max: limit(random, &[0, 1, 2]),
        is_protected: random.percent(20),
    }
}

/// Something that can be decreed now.
pub fn decree(model: &Model, random: &mut Random) -> Option<Decree> {
    let places = model.places();
    let exchange = (*random.pick(&TOPIC_EXCHANGES)).to_owned();
    let (user, vhost, exchange) = match random.percent(60) {
        true if !places.is_empty() => {
            let (user, vhost, last) = random.pick(&places).clone();
            (user, vhost, if TOPIC_EXCHANGES.contains(&last.as_str()) { last } else { exchange })
        }
        _ => (random.pick(&model.users()).clone(), random.pick(&model.vhosts()).clone(), exchange),
    };
    let is_first = (user.as_str(), vhost.as_str()) == (USERS[0], VHOSTS[0]);
    Some(match random.below(100) {
        0..18 => {
            let name = (*random.pick(&VHOSTS)).to_owned();
            Decree::PutVhost { attributes: attributes(random, name == VHOSTS[0]), name }
        }
        18..26 if vhost != VHOSTS[0] => Decree::DeleteVhost { name: vhost },
        26..38 => Decree::PutUser(UserWords {
            name: (*random.pick(&USERS[1..])).to_owned(),
            secret: random.pick::<&str>(&SECRETS),
            salt: (random.next() as u32).to_le_bytes(),
            tag: random.pick::<&str>(&TAGS),
        }),
        38..46 if user != USERS[0] => Decree::DeleteUser { name: user },
        46..50 if user != USERS[0] => {
            let limits =
                UserLimits { connections_max: limit(random, &[0, 1, 2]), channels_max: limit(random, &[0, 1, 3]) };
            Decree::LimitUser { name: user, limits }
        }
        50..74 if !is_first => Decree::Permit { user, vhost, names: [(); 3].map(|()| names(random)) },
        74..79 if !is_first => Decree::Forbid { user, vhost },
        79..93 if !is_first => Decree::PermitTopics { user, vhost, exchange, keys: [(); 2].map(|()| keys(random)) },
        93..98 => {
            let exchange = random.percent(50).then(|| *random.pick(&TOPIC_EXCHANGES));
            Decree::ForbidTopics { user, vhost, exchange }
        }
        _ => return None,
    })
}

/// Who gets something to do in what is new: without that there would be nobody in most of it.
pub fn consequence(decree: &Decree, model: &Model, random: &mut Random) -> Option<Decree> {
    let (user, vhost) = match decree {
        Decree::PutVhost { name, .. } if name != VHOSTS[0] => (USERS[0].to_owned(), name.clone()),
        Decree::PutUser(words) => (words.name.clone(), random.pick(&model.vhosts()).clone()),
        _ => return None,
    };
    let names = if random.percent(50) { [Names::All; 3] } else { [(); 3].map(|()| names(random)) };
    Some(Decree::Permit { user, vhost, names })
}

impl Decree {
    /// Has the broker do it. It is safe when the position is durable.
    pub fn carry_out(&self, hub: &mut Hub<LogStore>) -> LogPosition {
        let user = |hub: &Hub<LogStore>, name: &str| -> UserId {
            let key = hub.broker().find_user(name.as_bytes()).expect("whoever is named is there");
            hub.broker().user_of(key).expect("it was found")
        };
        let vhost = |hub: &Hub<LogStore>, name: &str| -> VhostId {
            hub.broker().vhost_named(name.as_bytes()).expect("what is named is there")
        };
        let pattern = |names: Names| Pattern::new(names.text()).expect("a pattern").into();
        match self {
            Self::PutVhost { name, attributes } => hub.broker_mut().put_vhost(name, attributes.clone()).durable_at,
            Self::DeleteVhost { name } => {
                let id = vhost(hub, name);
                hub.delete_vhost(id).durable_at
            }
            Self::PutUser(words) => hub.broker_mut().put_user(&words.name, words.hash(), words.tags()).durable_at,
            Self::LimitUser { name, limits } => {
                let id = user(hub, name);
                hub.broker_mut().set_user_limits(id, *limits).durable_at
            }
            Self::DeleteUser { name } => {
                let id = user(hub, name);
                hub.delete_user(id).durable_at
            }
            Self::Permit { user: name, vhost: of, names: [configure, write, read] } => {
                let (user, vhost) = (user(hub, name), vhost(hub, of));
                let permissions =
                    Permissions { configure: pattern(*configure), write: pattern(*write), read: pattern(*read) };
                hub.broker_mut().set_permissions(user, vhost, permissions).durable_at
            }
            Self::Forbid { user: name, vhost: of } => {
                let (user, vhost) = (user(hub, name), vhost(hub, of));
                hub.broker_mut().clear_permissions(user, vhost).durable_at
            }
            Self::PermitTopics { user: name, vhost: of, exchange, keys: [write, read] } => {
                let pattern = |keys: Keys| Pattern::for_topics(keys.text(), name, of).expect("a pattern");
                let (user, vhost) = (user(hub, name), vhost(hub, of));
                let permissions = TopicPermissions { write: pattern(*write), read: pattern(*read) };
                let exchange = ShortString::truncated(exchange.as_bytes());
                hub.broker_mut().set_topic_permissions(user, vhost, exchange, permissions).durable_at
            }
            Self::ForbidTopics { user: name, vhost: of, exchange } => {
                let (user, vhost) = (user(hub, name), vhost(hub, of));
                hub.broker_mut().clear_topic_permissions(user, vhost, exchange.map(str::as_bytes)).durable_at
            }
        }
    }
}
