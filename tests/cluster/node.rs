//! One node: a member, its writer, and, when it leads, a loop that publishes.

use super::chance::Chance;
use super::complaint::complain;
use super::fate::Mutation;
use super::publisher::Publisher;
use super::truth::Truth;
use super::writer::{Files, Folder, Said, Writer};
use leveret::cluster::member::ledger::Known;
use leveret::cluster::member::{Member, NodeNumber, Output, Role, Settings};
use leveret::cluster::membership::MemberRole;
use leveret::cluster::message::{Lane, Part, Unread};
use leveret::storage::{ClusterId, MemberId};

/// What a node wants said.
pub struct Saying {
    pub to: usize,
    pub lane: Lane,
    pub bytes: Vec<u8>,
}

pub struct Node {
    number: usize,
    mutation: Mutation,
    /// Which start of it this is.
    pub life: u64,
    folder: Option<Folder>,
    is_real: bool,
    pub running: Option<Running>,
    pub paused_until_ms: u64,
    pub is_gone: bool,
    clock_percent: u64,
}

pub struct Running {
    pub member: Member,
    id: MemberId,
    writer: Box<dyn Writer>,
    /// It is to lead in this term, as soon as the state is as far as this entry.
    leads_from: Option<(u64, u64)>,
    /// How many were installed.
    pub snapshots: u64,
    publisher: Option<Publisher>,
    /// What the writer has not been told to be committed: it is with whatever else it is asked for, or with the next tick.
    committed: Option<u64>,
    /// It has done with everything.
    pub has_stopped: bool,
}

impl Node {
    pub fn new(number: usize, is_real: bool, member: MemberId, clock_percent: u64, mutation: Mutation) -> Self {
        Self {
            number,
            mutation,
            life: 0,
            folder: Some(Folder::new(is_real, member)),
            is_real,
            running: None,
            paused_until_ms: 0,
            is_gone: false,
            clock_percent,
        }
    }

    pub fn is_up(&self, now_ms: u64) -> bool {
        self.running.is_some() && self.paused_until_ms <= now_ms
    }

    pub fn leads(&self) -> bool {
        let consensus = self.running.as_ref().and_then(|running| running.member.consensus());
        consensus.is_some_and(leveret::cluster::member::consensus::Consensus::leads)
    }

    fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms * self.clock_percent / 100
    }

    pub fn start(&mut self, seed: u64, now_ms: u64) {
        let Some(folder) = self.folder.take() else { return };
        self.life += 1;
        let names = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
        let (member, mut known, writer, rejoins) = folder.start(self.mutation);
        if self.mutation == Mutation::RecoverOtherTerm {
            known.iter_mut().for_each(mistake_term);
        }
        let settings = Settings {
            nodes: names,
            me: NodeNumber(self.number as u8),
            member,
            new_cluster: ClusterId([7; 16]),
            chance: seed ^ (self.number as u64) << 8 ^ self.life,
            rejoins,
        };
        let (id, member) = (member, Member::start(settings, known, self.clock_ms(now_ms)));
        self.running = Some(Running {
            member,
            id,
            writer,
            leads_from: None,
            snapshots: 0,
            publisher: None,
            committed: None,
            has_stopped: false,
        });
    }

    pub fn crash(&mut self, truth: &mut Truth, chance: &mut Chance) {
        if let Some(running) = self.running.take() {
            let number = self.number;
            self.folder = Some(running.writer.crash(chance, &mut |entry| truth.applies(number, entry)));
        }
    }

    /// Its folder is lost, and a new one begins.
    pub fn wipe(&mut self, member: MemberId) {
        assert!(self.running.is_none(), "only who is down loses his folder");
        self.folder = Some(Folder::new(self.is_real, member));
    }

    /// Whose folder it has, while it is down.
    pub fn member(&self) -> Option<MemberId> {
        self.folder.as_ref().map(Folder::member)
    }

    /// Its disk gives back something else than was written, which it finds when it starts; it is `member` then.
    pub fn rot(&mut self, member: MemberId, chance: &mut Chance) {
        if let Some(running) = self.running.take() {
            self.folder = Some(running.writer.kill());
        }
        if let Some(folder) = &mut self.folder {
            folder.rot(member, self.mutation, chance);
        }
    }

    /// Whether it is this member.
    pub fn is(&self, member: MemberId) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == member)
    }

    pub fn fill_disk(&mut self, full: bool) {
        if let Some(running) = &mut self.running {
            running.writer.fill(full);
        }
    }

    pub fn checkpoint(&mut self, now_ms: u64) {
        if let Some(running) = &mut self.running {
            running.writer.checkpoint(now_ms);
        }
    }

    /// What its state is, in words, if it has one that can be told.
    pub fn state(&mut self) -> Option<String> {
        self.running.as_mut()?.writer.state()
    }

    /// Whether it has a place in a cluster.
    pub fn belongs(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.member.consensus().is_some())
    }

    /// Whether it knows that this member votes.
    pub fn knows_voter(&self, member: MemberId) -> bool {
        let consensus = self.running.as_ref().and_then(|running| running.member.consensus());
        consensus.is_some_and(|consensus| consensus.configuration().is_voter(member))
    }

    /// Whether it would know that after a power cut, too.
    pub fn knows_voter_for_good(&self, member: MemberId) -> bool {
        let known = self.running.as_ref().and_then(|running| running.writer.would_know());
        self.knows_voter(member) && known.is_some_and(|known| known.configuration.is_voter(member))
    }

    /// How many vote, as far as it knows.
    pub fn voters(&self) -> usize {
        let consensus = self.running.as_ref().and_then(|running| running.member.consensus());
        consensus.map_or(0, |consensus| consensus.configuration().ids_of(MemberRole::Voter).count())
    }

    pub fn pins(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.writer.pins())
    }

    pub fn hang_disk(&mut self, hangs: bool) {
        if let Some(running) = &mut self.running {
            running.writer.hang(hangs);
        }
    }

    pub fn slow_disk(&mut self, slow_ms: u64) {
        if let Some(running) = &mut self.running {
            running.writer.slow_down(slow_ms);
        }
    }

    pub fn received(&mut self, from: usize, bytes: Vec<u8>) {
        if let Some(running) = &mut self.running {
            running.member.received(NodeNumber(from as u8), bytes);
        }
    }

    /// For whoever looks at a run that failed.
    pub fn describe(&self) -> String {
        let Some(running) = &self.running else { return "down".to_owned() };
        let Some(consensus) = running.member.consensus() else { return "belongs to nothing".to_owned() };
        let reaches: Vec<_> = consensus.reaches().collect();
        format!(
            "term {}, leader {:?}, committed {}, persisted {}, applied {}, log {:?}..{:?}, others {reaches:?}",
            consensus.term(),
            consensus.leader(),
            consensus.committed(),
            consensus.persisted(),
            consensus.applied(),
            consensus.ledger().before(),
            consensus.ledger().last(),
        )
    }

    pub fn applied(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.writer.applied().0)
    }

    /// Some time of its own: the writer's word, a tick, something to publish.
    pub fn turn(&mut self, now_ms: u64, publishes: bool, truth: &mut Truth, chance: &mut Chance) -> Vec<Saying> {
        let clock_ms = self.clock_ms(now_ms);
        let (number, mutation) = (self.number, self.mutation);
        let Some(running) = &mut self.running else { return Vec::new() };
        while let Some(said) = running.writer.say(now_ms, &mut |entry| truth.applies(number, entry)) {
            running.take_said(said);
        }
        if clock_ms >= running.member.next_tick_ms() {
            running.tell_of_commit(number, now_ms, truth);
            running.member.tick(clock_ms);
        }
        let mut said = Vec::new();
        running.take_outputs(number, now_ms, mutation, truth, chance, &mut said);
        running.lead_if_due(truth);
        if let Some(publisher) = &mut running.publisher {
            if publishes {
                publisher.publish(truth, chance);
            }
            if let Some(batch) = publisher.take_batch(clock_ms, truth) {
                let term = publisher.term;
                running.member.propose(term, batch);
                running.take_outputs(number, now_ms, mutation, truth, chance, &mut said);
            }
        }
        if let Some(consensus) = running.member.consensus().filter(|consensus| consensus.leads()) {
            truth.leads(consensus.term(), number);
        }
        said
    }
}

/// Takes the last entry for one of the term that was voted in last.
fn mistake_term(known: &mut Known) {
    let Known { entries, vote, applied, .. } = known;
    if let Some((last, _)) = entries.last_mut().filter(|(last, _)| last.index > *applied) {
        last.term = last.term.max(vote.term);
    }
}

impl Running {
    fn take_said(&mut self, said: Said) {
        match said {
            Said::Persisted(number, places) => self.member.persisted(number, &places),
            Said::Performed(succeeded) => self.member.incoming_performed(succeeded),
            Said::Installed(last, position) => {
                self.snapshots += 1;
                self.member.installed(last, position);
            }
            Said::Pinned(pinned) => self.member.pinned(pinned),
            Said::Forgotten(below) => self.member.forgotten(below),
            Said::Founded(known) => self.member.founded(known),
        }
    }

    fn tell_of_commit(&mut self, node: usize, now_ms: u64, truth: &mut Truth) {
        if let Some(index) = self.committed.take() {
            self.writer.commit(index, now_ms, &mut |entry| truth.applies(node, entry));
        }
    }

    /// Begins to publish when the state is as far as it was told.
    fn lead_if_due(&mut self, truth: &Truth) {
        let (applied, position) = self.writer.applied();
        if let Some((term, _)) = self.leads_from.take_if(|(_, index)| *index <= applied) {
            self.publisher = Some(Publisher::begin(term, position, truth));
        }
    }

    fn take_outputs(
        &mut self,
        node: usize,
        now_ms: u64,
        mutation: Mutation,
        truth: &mut Truth,
        chance: &mut Chance,
        said: &mut Vec<Saying>,
    ) {
        let mut unread = Vec::new();
        while let Some(output) = self.next_output(&mut unread) {
            match output {
                Output::Send { to, lane, parts } => match self.assemble(parts) {
                    Ok(bytes) => said.push(Saying { to: to.0.into(), lane, bytes }),
                    Err(part) => unread.push((to, part)),
                },
                Output::Append(append) => {
                    // A vote may be there to note what is committed. Otherwise others wait for this, and nobody for that.
                    if append.vote.is_some() {
                        self.tell_of_commit(node, now_ms, truth);
                    }
                    self.writer.append(append, now_ms, chance);
                    self.tell_of_commit(node, now_ms, truth);
                }
                Output::Commit(index) => self.committed = Some(index),
                Output::Told(told) => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.told(told, mutation, truth);
                    }
                }
                Output::Role(role) => {
                    self.publisher = None;
                    self.leads_from = match role {
                        Role::Lead { term, index } => {
                            self.tell_of_commit(node, now_ms, truth);
                            Some((term, index))
                        }
                        _ => None,
                    };
                }
                Output::Found(configuration) => self.writer.found(configuration, now_ms),
                Output::Pin { index } => {
                    self.tell_of_commit(node, now_ms, truth);
                    self.writer.pin(index, now_ms);
                }
                Output::Unpin(id) => self.writer.unpin(id, now_ms),
                Output::Incoming(step) => self.writer.incoming(step, now_ms, chance),
                Output::Install { last, checkpoint, files } => {
                    self.tell_of_commit(node, now_ms, truth);
                    self.writer.install(last, Files { checkpoint, others: files }, now_ms, chance);
                }
                // Whoever goes on with what is left of a log, as who it was, has to be told from those who keep theirs.
                Output::Forgot { .. } if mutation != Mutation::None => {}
                Output::Forgot { said } => complain(format_args!("node {node} had entry {said}, and forgot it")),
                Output::Stopped => self.has_stopped = true,
            }
        }
    }

    /// What the member wants next, after it was told of messages that could not be sent.
    fn next_output(&mut self, unread: &mut Vec<(NodeNumber, Part)>) -> Option<Output> {
        loop {
            match (self.member.take_output(), unread.pop()) {
                (None, None) => return None,
                (None, Some((node, part))) => self.member.could_not_read(node, &part, Unread::NotThere),
                (output, last) => {
                    unread.extend(last);
                    return output;
                }
            }
        }
    }

    /// The bytes of a message, or what of it is not there any more.
    fn assemble(&mut self, parts: Vec<Part>) -> Result<Vec<u8>, Part> {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(more) => bytes.extend(more),
                Part::Body(body) => bytes.extend(body.bytes()),
                Part::Stored(place) => bytes.extend(self.writer.read(place).ok_or(part)?),
                Part::File { ref name, offset, length } => {
                    bytes.extend(self.writer.read_file(name, offset, length).ok_or(part)?);
                }
            }
        }
        Ok(bytes)
    }
}
