//! What a broker has before anybody made anything: a virtual host, and a user who may do everything there.

use super::access::Permissions;
use super::store::Store;
use super::vhost::VhostAttributes;
use super::{Broker, UserId, VhostId};
use crate::access::{PasswordHash, Tags};

/// What the first vhost and the first user are. Names have 1 to 255 bytes.
pub struct Founding {
    pub vhost: String,
    pub user: String,
    pub password: PasswordHash,
    pub tags: Tags,
}

impl<S: Store> Broker<S> {
    /// Whether there is neither a vhost nor a user: nobody could ever make one.
    fn is_unfounded(&self) -> bool {
        self.vhosts.iter().next().is_none() && self.users.is_empty()
    }

    /// Makes the first vhost and the first user, who may do everything in it. They have the ids 0.
    pub fn found(&mut self, founding: Founding) {
        assert!(self.is_unfounded(), "a broker is founded once");
        let Founding { vhost, user, password, tags } = founding;
        let attributes = VhostAttributes { description: "Default virtual host".into(), ..VhostAttributes::default() };
        self.put_vhost(&vhost, attributes);
        self.put_user(&user, password, tags);
        self.set_permissions(UserId(0), VhostId(0), Permissions::all());
    }
}
