//! The commands about who may: users, virtual hosts, permissions and limits.

use crate::api::{Api, Failure};
use crate::output::Output;
use crate::password::{Algorithm, hash_password};
use crate::users::{NewUser, authenticate_user};
use crate::vhosts::VhostOptions;
use crate::{limits, permissions, users, vhosts};
use clap::Subcommand;

/// Names of arguments are not those of the options that every command has: `user` and `password` say who logs in.
#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum AccessCommand {
    /// Make a user, who may do nothing yet
    AddUser {
        username: String,
        /// Read from standard input if it is not given
        #[arg(value_name = "PASSWORD", allow_hyphen_values = true)]
        cleartext: Option<String>,
        /// What is given is what hash_password prints
        #[arg(long = "pre-hashed-password")]
        is_hashed: bool,
    },
    /// Delete a user, and close its connections
    DeleteUser {
        username: String,
        /// Also if it is the only administrator
        #[arg(long)]
        force: bool,
    },
    /// Give a user another password
    ChangePassword {
        username: String,
        /// Read from standard input if it is not given
        #[arg(value_name = "PASSWORD", allow_hyphen_values = true)]
        cleartext: Option<String>,
        /// Also an empty one for the only administrator
        #[arg(long)]
        force: bool,
    },
    /// Take a user's password: nobody logs in with one then
    ClearPassword {
        username: String,
        /// Also that of the only administrator
        #[arg(long)]
        force: bool,
    },
    /// Ask whether a password is a user's
    AuthenticateUser {
        username: String,
        /// Read from standard input if it is not given
        #[arg(value_name = "PASSWORD", allow_hyphen_values = true)]
        cleartext: Option<String>,
    },
    /// Give a user these tags and no others
    SetUserTags {
        username: String,
        tags: Vec<String>,
        /// Also if nobody is an administrator then
        #[arg(long)]
        force: bool,
    },
    /// List users
    ListUsers,
    /// Say what a password's hash is, without asking the broker
    HashPassword {
        /// Read from standard input if it is not given
        #[arg(value_name = "PASSWORD", allow_hyphen_values = true)]
        cleartext: Option<String>,
        #[arg(long = "hashing-algorithm", value_enum, default_value_t = Algorithm::Sha256)]
        algorithm: Algorithm,
    },
    /// Let a user do what these patterns say in the virtual host
    SetPermissions {
        username: String,
        #[arg(allow_hyphen_values = true)]
        configure: String,
        #[arg(allow_hyphen_values = true)]
        write: String,
        #[arg(allow_hyphen_values = true)]
        read: String,
    },
    /// Let a user do nothing in the virtual host any more
    ClearPermissions { username: String },
    /// List what users may do in the virtual host
    ListPermissions,
    /// List what a user may do in all virtual hosts
    ListUserPermissions { username: String },
    /// Let a user use an exchange with such routing keys alone
    SetTopicPermissions {
        username: String,
        exchange: String,
        #[arg(allow_hyphen_values = true)]
        write: String,
        #[arg(allow_hyphen_values = true)]
        read: String,
    },
    /// Let a user use an exchange, or all, with any routing key
    ClearTopicPermissions { username: String, exchange: Option<String> },
    /// List what restricts routing keys in the virtual host
    ListTopicPermissions,
    /// List what restricts a user's routing keys in all virtual hosts
    ListUserTopicPermissions { username: String },
    /// Make a virtual host
    AddVhost {
        name: String,
        #[command(flatten)]
        options: VhostOptions,
    },
    /// Delete a virtual host with all that is in it, and close its connections
    DeleteVhost { name: String },
    /// Have a virtual host not deleted until somebody takes that back
    EnableVhostDeletionProtection { name: String },
    /// Let a virtual host be deleted again
    DisableVhostDeletionProtection { name: String },
    /// Say something else of a virtual host
    UpdateVhostMetadata {
        name: String,
        #[command(flatten)]
        options: VhostOptions,
    },
    /// Give a virtual host these tags and no others
    SetVhostTags { name: String, tags: Vec<String> },
    /// List virtual hosts [default column: name]
    ListVhosts { columns: Vec<String> },
    /// Let amq.rabbitmq.trace tell of what is published and delivered in the virtual host
    TraceOn,
    /// Let it tell nothing more
    TraceOff,
    /// Limit the virtual host: {"max-connections": N, "max-queues": N}
    SetVhostLimits {
        /// Limits as JSON; those that are not in it are taken away
        definition: String,
    },
    /// Take all limits of the virtual host away
    ClearVhostLimits,
    /// List the limits of the virtual host
    ListVhostLimits {
        /// Of all virtual hosts
        #[arg(long)]
        global: bool,
    },
    /// Have whatever is known of logins and permissions asked again
    ClearAuthBackendCache,
    /// Limit a user: {"max-connections": N, "max-channels": N}
    SetUserLimits {
        username: String,
        /// Limits as JSON; those that are not in it stay
        definition: String,
    },
    /// Take a limit of a user away, or `all`
    ClearUserLimits { username: String, limit: String },
    /// List the limits of a user [default: the one who logs in]
    ListUserLimits {
        username: Option<String>,
        /// Of all users
        #[arg(long)]
        global: bool,
    },
}

pub fn run(api: &Api, output: &Output, vhost: &str, command: AccessCommand) -> Result<(), Failure> {
    use AccessCommand as Command;
    match command {
        Command::AddUser { username, cleartext, is_hashed } => {
            users::add_user(api, output, NewUser { user: &username, password: cleartext, is_hashed })
        }
        Command::DeleteUser { username, force } => users::delete_user(api, output, &username, force),
        Command::ChangePassword { username, cleartext, force } => {
            users::change_password(api, output, &username, cleartext, force)
        }
        Command::ClearPassword { username, force } => users::clear_password(api, output, &username, force),
        Command::AuthenticateUser { username, cleartext } => authenticate_user(api, output, &username, cleartext),
        Command::ClearAuthBackendCache => users::clear_auth_backend_cache(api, output),
        Command::SetUserTags { username, tags, force } => users::set_user_tags(api, output, &username, &tags, force),
        Command::ListUsers => users::list_users(api, output),
        Command::HashPassword { cleartext, algorithm } => hash_password(output, cleartext, algorithm),
        Command::SetPermissions { username, configure, write, read } => {
            permissions::set(api, output, vhost, &username, [&configure, &write, &read])
        }
        Command::ClearPermissions { username } => permissions::clear(api, output, vhost, &username),
        Command::ListPermissions => permissions::list(api, output, vhost),
        Command::ListUserPermissions { username } => permissions::list_of_user(api, output, &username),
        Command::SetTopicPermissions { username, exchange, write, read } => {
            permissions::set_topic(api, output, vhost, &username, [&exchange, &write, &read])
        }
        Command::ClearTopicPermissions { username, exchange } => {
            permissions::clear_topic(api, output, vhost, &username, exchange.as_deref())
        }
        Command::ListTopicPermissions => permissions::list_topic(api, output, vhost),
        Command::ListUserTopicPermissions { username } => permissions::list_topic_of_user(api, output, &username),
        Command::AddVhost { name, options } => vhosts::add(api, output, &name, &options),
        Command::DeleteVhost { name } => vhosts::delete(api, output, &name),
        Command::EnableVhostDeletionProtection { name } => vhosts::protect(api, output, &name),
        Command::DisableVhostDeletionProtection { name } => vhosts::unprotect(api, output, &name),
        Command::UpdateVhostMetadata { name, options } => vhosts::update(api, output, &name, &options),
        Command::SetVhostTags { name, tags } => vhosts::set_tags(api, output, &name, &tags),
        Command::ListVhosts { columns } => vhosts::list(api, output, &columns),
        Command::TraceOn => vhosts::trace(api, output, vhost, true),
        Command::TraceOff => vhosts::trace(api, output, vhost, false),
        Command::SetVhostLimits { definition } => limits::set_of_vhost(api, output, vhost, &definition),
        Command::ClearVhostLimits => limits::clear_of_vhost(api, output, vhost),
        Command::ListVhostLimits { global: true } => limits::list_of_vhosts(api, output),
        Command::ListVhostLimits { global: false } => limits::list_of_vhost(api, output, vhost),
        Command::SetUserLimits { username, definition } => limits::set_of_user(api, output, &username, &definition),
        Command::ClearUserLimits { username, limit } => limits::clear_of_user(api, output, &username, &limit),
        Command::ListUserLimits { global: true, .. } => limits::list_of_users(api, output),
        Command::ListUserLimits { username, global: false } => limits::list_of_user(api, output, username.as_deref()),
    }
}
