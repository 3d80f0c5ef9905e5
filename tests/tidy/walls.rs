//! The plan of the house: every room, with what it may import. It says what is true today; a door that nobody uses is
//! walled up, so that it never says more.

/// What the files of one room may import, itself aside.
pub struct Wall {
    pub room: &'static str,
    /// Rooms, or modules of rooms, with all that is in them.
    pub rooms: &'static [&'static str],
    /// Crates of others. What only tests use (the development dependencies) is not asked.
    pub crates: &'static [&'static str],
}

/// A room is a folder or a file of `src`, a program in `src/bin`, or the load generator in `perf`.
pub const WALLS: [Wall; 20] = [
    Wall { room: "protocol", rooms: &[], crates: &["memchr"] },
    Wall { room: "varint", rooms: &[], crates: &[] },
    Wall { room: "meter", rooms: &[], crates: &[] },
    Wall { room: "access", rooms: &[], crates: &["argon2", "base64", "hmac", "regex", "sha2", "subtle"] },
    Wall {
        room: "broker",
        // What permissions are made of: it has users and who may what, and reads no pattern. Events tell how clients came.
        rooms: &["access", "meter", "protocol", "tls::Encryption", "varint"],
        // base64 and rand_chacha make the names that the broker gives to queues and consumers; sha2 tells duplicates, and
        // foldhash spreads them.
        crates: &["base64", "bytes", "foldhash", "hashbrown", "memchr", "rand_chacha", "sha2", "slab"],
    },
    // It says who shows a token. hmac is a part of ring.
    Wall { room: "token", rooms: &["access"], crates: &["base64", "hmac", "ring", "serde_json"] },
    // It reads no file and knows no socket: of the settings it takes what they name.
    Wall { room: "tls", rooms: &["config"], crates: &["ring", "rustls", "x509_cert"] },
    Wall {
        room: "connection",
        // What the doorkeeper is to compare with, and what it is asked; who is at the other end.
        rooms: &[
            "access::Answer",
            "access::Bearer",
            "access::Inquiry",
            "access::PasswordHash",
            "access::Tags",
            "broker",
            "protocol",
            "tls",
        ],
        crates: &["bytes", "tracing"],
    },
    Wall {
        room: "storage",
        rooms: &[
            // The seam, and the values that cross it.
            "broker::store",
            "broker::message",
            "broker::page",
            // The kinds of exchanges in records; and one order of arguments, so that equal bindings are equal bytes.
            "broker::exchange",
            "protocol",
            "varint",
        ],
        crates: &["bytes", "crc32c", "hashbrown", "libc", "memchr", "slab", "tracing"],
    },
    // What makes members agree is told of no broker: entries are the log's, and positions what a broker waits for.
    Wall { room: "cluster", rooms: &["broker::store", "storage", "varint"], crates: &["raft", "slog", "tracing"] },
    // A stream that is encrypted, to whoever moves its bytes, is a stream.
    Wall { room: "reactor", rooms: &["tls"], crates: &["libc", "mio", "rustls", "signal_hook", "slab", "socket2"] },
    Wall {
        room: "management",
        rooms: &[
            // Hashes, patterns and tags are made here: the loop has no time for it.
            "access",
            "broker::snapshot",
            "broker::access_snapshot",
            // Policies are looked at and their patterns compiled here, for the same reason.
            "broker::policy",
            // Files of definitions are read here, and what their values are made of.
            "broker::import",
            "broker::parameters",
            // Figures that the snapshots carry.
            "broker::sums",
            "broker::Durations",
            "broker::ExchangeCounters",
            "broker::ExchangeFigures",
            "broker::ExchangeKey",
            "broker::QueueDurations",
            "broker::QueueDurationsSnapshot",
            "meter",
            "broker::Totals",
            "broker::QueueCounters",
            "broker::DeadLetterCounters",
            // Who asks, and what the snapshots carry of users and virtual hosts.
            "broker::UserKey",
            "broker::UserLimits",
            "broker::VhostAttributes",
            // Messages that exchanges keep for later.
            "broker::DelayedId",
            "broker::DelayedMessage",
            "broker::DelayedPage",
            // Messages where they wait, who holds which, and moving them.
            "broker::CopiedHead",
            "broker::HeldId",
            "broker::HeldMessage",
            "broker::HeldPage",
            "broker::MoveSpec",
            "broker::MoveTo",
            "broker::MoveWhat",
            "broker::Moved",
            "broker::PeekSpec",
            "broker::Peeked",
            "broker::PeekedMessage",
            // Where a message would go.
            "broker::RouteStep",
            "broker::RouteTest",
            "broker::exchange::Way",
            // What somebody follows of a queue or an exchange.
            "broker::TailCounts",
            "broker::TailFilter",
            "broker::TailId",
            "broker::TailListener",
            "broker::TailOf",
            "broker::TailSpec",
            "broker::TailedMessage",
            // Which resource is low, in the words that clients are told.
            "connection::Alarm",
            // Names, tables and properties, which HTTP's JSON is turned into.
            "protocol",
            // To wake the loop, to say what time it is, and what the process uses.
            "reactor::Waker",
            "reactor::Clock",
            "reactor::process",
            "reactor::origin_of",
            // How connections are encrypted, and what HTTPS is spoken with.
            "tls::Encryption",
            "tls::DatedFile",
            "tls::Expiries",
            "tls::Renewable",
            "tls::handshake_failure",
        ],
        // hyper below axum, for the limits that axum has no switch for; miniz_oxide for the files of the page; regex for names
        // that are asked for by a pattern; ring to seal what sessions keep.
        crates: &[
            "axum",
            "base64",
            "bytes",
            "hyper",
            "hyper_util",
            "memchr",
            "miniz_oxide",
            "regex",
            "ring",
            "serde",
            "serde_json",
            "tokio",
            "tokio_rustls",
            "tower_service",
            "tracing",
        ],
    },
    Wall {
        room: "peers",
        // What a message lies in: bodies of entries, shared with the log, and places on the disk.
        rooms: &["cluster::message", "reactor", "storage::entry"],
        crates: &["crc32c", "hmac", "sha2", "slab", "tracing"],
    },
    Wall { room: "config", rooms: &[], crates: &["serde", "toml", "tracing"] },
    Wall { room: "logging", rooms: &["reactor::Clock"], crates: &["serde_json", "tracing"] },
    Wall { room: "allocator", rooms: &[], crates: &["libmimalloc_sys"] },
    Wall {
        room: "server",
        rooms: &[
            "access",
            "allocator",
            "broker",
            "cluster",
            "config",
            "connection",
            "logging",
            "management",
            "peers",
            "protocol",
            "reactor",
            "storage",
            "tls",
            "token",
        ],
        // ureq fetches the keys that tokens are signed with. libc names the errors by which a machine
        // without IPv6 is known, and those of a system that is short of something.
        // tokio is there for its tests alone, which hold the receiving end of the management's answers.
        crates: &["base64", "getrandom", "libc", "slab", "tokio", "tracing", "ureq"],
    },
    Wall {
        room: "main",
        rooms: &["allocator", "config", "logging", "reactor::Supervisor", "server"],
        crates: &["clap", "tracing"],
    },
    // It knows a broker only over HTTP, as a stranger would; it hashes passwords itself.
    Wall {
        room: "leveretctl",
        rooms: &["access"],
        crates: &[
            "base64",
            "clap",
            "clap_complete",
            "clap_mangen",
            "getrandom",
            "rustls",
            "serde_json",
            "toml",
            "ureq",
        ],
    },
    Wall {
        room: "perf",
        // To log in and to declare, and the records of TLS. What it measures with is bytes of its own.
        rooms: &["protocol", "tls"],
        crates: &["clap", "hdrhistogram", "libc", "memchr", "mio", "serde_json", "signal_hook", "socket2"],
    },
];
