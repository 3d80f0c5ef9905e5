//! Between the words of this room and those of the crate that agrees, in both directions.

use super::super::membership::{Configuration, MemberRole};
use super::super::message::{Point, RaftMessage, Says};
use super::ledger::Ledger;
use crate::storage::MemberId;
use crate::storage::entry::EntryLabel;
use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::{self, ConfChangeSingle, ConfChangeType, ConfChangeV2, MessageType};
use std::num::NonZeroU64;

/// A member by the crate's number, which is 0 for nobody.
pub fn id_of(number: u64) -> Option<MemberId> {
    NonZeroU64::new(number).map(MemberId)
}

/// What leads from one configuration to the next, if that is one change.
pub fn change(from: &Configuration, to: &Configuration) -> Option<ConfChangeV2> {
    let mut changes = Vec::new();
    for member in to.members() {
        if from.member(member.id).map(|before| before.role) != Some(member.role) {
            let change = match member.role {
                MemberRole::Voter => ConfChangeType::AddNode,
                MemberRole::Learner => ConfChangeType::AddLearnerNode,
            };
            changes.push((member.id, change));
        }
    }
    let gone = from.members().iter().filter(|member| to.member(member.id).is_none());
    changes.extend(gone.map(|member| (member.id, ConfChangeType::RemoveNode)));
    let [(id, change_type)] = changes[..] else { return None };
    let single = ConfChangeSingle { node_id: id.0.get(), change_type, ..ConfChangeSingle::default() };
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    Some(change)
}

pub fn to_crate(message: &RaftMessage) -> eraftpb::Message {
    let mut out = eraftpb::Message {
        from: message.from.0.get(),
        to: message.to.0.get(),
        term: message.term,
        ..eraftpb::Message::default()
    };
    let kind = match message.says {
        Says::Vote { only_asks, transfers, last, commit } => {
            (out.index, out.log_term, out.commit, out.commit_term) = (last.index, last.term, commit.index, commit.term);
            if transfers {
                out.context = CAMPAIGN_TRANSFER.into();
            }
            if only_asks { MessageType::MsgRequestPreVote } else { MessageType::MsgRequestVote }
        }
        Says::Voted { only_asked, granted, commit } => {
            (out.reject, out.commit, out.commit_term) = (!granted, commit.index, commit.term);
            if only_asked { MessageType::MsgRequestPreVoteResponse } else { MessageType::MsgRequestVoteResponse }
        }
        Says::Append { before, commit, entry } => {
            (out.index, out.log_term, out.commit) = (before.index, before.term, commit);
            out.set_entries(entry.iter().map(Ledger::entry_of).collect::<Vec<_>>().into());
            MessageType::MsgAppend
        }
        Says::Appended { index, commit } => {
            (out.index, out.commit) = (index, commit);
            MessageType::MsgAppendResponse
        }
        Says::Refused { index, hint, commit } => {
            (out.index, out.commit, out.reject) = (index, commit, true);
            (out.reject_hint, out.log_term) = (hint.index, hint.term);
            MessageType::MsgAppendResponse
        }
        Says::Heartbeat { commit } => {
            out.commit = commit;
            MessageType::MsgHeartbeat
        }
        Says::Alive { commit } => {
            out.commit = commit;
            MessageType::MsgHeartbeatResponse
        }
        Says::Campaign => MessageType::MsgTimeoutNow,
    };
    out.set_msg_type(kind);
    out
}

/// `None` for what members do not say to each other.
pub fn from_crate(message: &eraftpb::Message, entry: Option<EntryLabel>) -> Option<RaftMessage> {
    let point = Point { index: message.index, term: message.log_term };
    let commit = Point { index: message.commit, term: message.commit_term };
    let says = match message.get_msg_type() {
        kind @ (MessageType::MsgRequestVote | MessageType::MsgRequestPreVote) => Says::Vote {
            only_asks: kind == MessageType::MsgRequestPreVote,
            transfers: message.context == CAMPAIGN_TRANSFER,
            last: point,
            commit,
        },
        kind @ (MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse) => {
            Says::Voted { only_asked: kind == MessageType::MsgRequestPreVoteResponse, granted: !message.reject, commit }
        }
        MessageType::MsgAppend => Says::Append { before: point, commit: message.commit, entry },
        MessageType::MsgAppendResponse if message.reject => Says::Refused {
            index: message.index,
            hint: Point { index: message.reject_hint, term: message.log_term },
            commit: message.commit,
        },
        MessageType::MsgAppendResponse => Says::Appended { index: message.index, commit: message.commit },
        MessageType::MsgHeartbeat => Says::Heartbeat { commit: message.commit },
        MessageType::MsgHeartbeatResponse => Says::Alive { commit: message.commit },
        MessageType::MsgTimeoutNow => Says::Campaign,
        _ => return None,
    };
    Some(RaftMessage { from: id_of(message.from)?, to: id_of(message.to)?, term: message.term, says })
}
