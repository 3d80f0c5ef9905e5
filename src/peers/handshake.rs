//! How two nodes prove to each other that they know the cluster's secret, before either believes or tells anything.
//!
//! ```text
//! caller                                                host
//!   "LVRPEER1", nonce 32                 ────────►
//!                                        ◄────────      nonce 32
//!   proof 32, length u16, preface        ────────►
//!                                        ◄────────      answer u8, proof 32
//! ```
//! Each proof is of both nonces and of all that was said, and says whose it is, so that none is good for anything else. A
//! host says nothing that depends on the secret before it has seen the caller's proof: who knocks gets 32 bytes of chance,
//! whatever it says. It knows no socket: bytes go in, and what is to be sent comes out.

use super::preface::{Answer, PREFACE_MAX_BYTES, Preface};
use super::secret::{ClusterSecret, PROOF_BYTES};

pub const NONCE_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"LVRPEER1";
const CALL_BYTES: usize = MAGIC.len() + NONCE_BYTES;
const PROVED_BYTES: usize = PROOF_BYTES + size_of::<u16>();
/// What the host says at last.
pub const ANSWER_BYTES: usize = 1 + PROOF_BYTES;

const OF_CALLER: &[u8] = b"caller";
const OF_HOST: &[u8] = b"host";

type Nonce = [u8; NONCE_BYTES];

/// The side that connects.
pub struct CallerSteps {
    nonce: Nonce,
    preface: Vec<u8>,
}

impl CallerSteps {
    pub fn new(nonce: Nonce, preface: &Preface) -> Self {
        Self { nonce, preface: preface.encode() }
    }

    /// What it says first.
    pub fn call(&self) -> Vec<u8> {
        [&MAGIC[..], &self.nonce].concat()
    }

    /// What it says to the host's nonce.
    pub fn prove(&self, secret: &ClusterSecret, host: &Nonce) -> Vec<u8> {
        let proof = secret.proof(&[OF_CALLER, &self.nonce, host, &self.preface]);
        let length = u16::try_from(self.preface.len()).expect("a preface is short");
        [&proof[..], &length.to_be_bytes(), &self.preface].concat()
    }

    /// What the host made of it; `None` when it doesn't know the secret.
    pub fn answered(&self, secret: &ClusterSecret, host: &Nonce, answer: &[u8; ANSWER_BYTES]) -> Option<Answer> {
        let (said, proof) = answer.split_at(1);
        let is_proof = secret.is_proof(&[OF_HOST, &self.nonce, host, &self.preface, said], proof);
        Answer::of_byte(said[0]).filter(|_| is_proof)
    }
}

/// The side that is connected to.
pub struct HostSteps {
    nonce: Nonce,
    stage: Stage,
    /// What came of what it waits for.
    received: Vec<u8>,
}

enum Stage {
    Call,
    Proof { caller: Nonce },
    Preface { caller: Nonce, proof: [u8; PROOF_BYTES], length: usize },
    Judged { caller: Nonce },
}

/// What comes of a step.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// More has to come.
    Waits,
    /// This is to be sent, and more has to come.
    Send(Nonce),
    /// Somebody who knows the secret wants this. It waits for [`HostSteps::answer`].
    Came(Preface),
    Stranger(&'static str),
}

impl HostSteps {
    pub fn new(nonce: Nonce) -> Self {
        Self { nonce, stage: Stage::Call, received: Vec::new() }
    }

    /// How many bytes are to be received, and not one more: what follows is not for this.
    pub fn wanted(&self) -> usize {
        let whole = match self.stage {
            Stage::Call => CALL_BYTES,
            Stage::Proof { .. } => PROVED_BYTES,
            Stage::Preface { length, .. } => length,
            Stage::Judged { .. } => 0,
        };
        whole.saturating_sub(self.received.len())
    }

    /// Takes what was received: at most as much as was [wanted](Self::wanted).
    pub fn take(&mut self, secret: &ClusterSecret, bytes: &[u8]) -> Step {
        self.received.extend_from_slice(bytes);
        // Who speaks something else is known by its first byte.
        if matches!(self.stage, Stage::Call) && self.received.iter().zip(MAGIC).any(|(byte, magic)| byte != magic) {
            return Step::Stranger("it speaks something else");
        }
        if self.wanted() > 0 {
            return Step::Waits;
        }
        let received = std::mem::take(&mut self.received);
        match self.stage {
            Stage::Call => {
                let caller = *received.last_chunk().expect("as much as was wanted");
                self.stage = Stage::Proof { caller };
                Step::Send(self.nonce)
            }
            Stage::Proof { caller } => {
                let proof = *received.first_chunk().expect("as much as was wanted");
                let length = *received.last_chunk().expect("as much as was wanted");
                let length = usize::from(u16::from_be_bytes(length));
                if !(1..=PREFACE_MAX_BYTES).contains(&length) {
                    return Step::Stranger("it has too much to say");
                }
                self.stage = Stage::Preface { caller, proof, length };
                Step::Waits
            }
            Stage::Preface { caller, proof, .. } => {
                if !secret.is_proof(&[OF_CALLER, &caller, &self.nonce, &received], &proof) {
                    return Step::Stranger("it doesn't know the cluster's secret");
                }
                let Some(preface) = Preface::decode(&received) else {
                    return Step::Stranger("it is of a version that says something else");
                };
                self.stage = Stage::Judged { caller };
                // It is a part of the answer's proof.
                self.received = received;
                Step::Came(preface)
            }
            Stage::Judged { .. } => Step::Stranger("it says more than it was asked"),
        }
    }

    /// What is to be sent to who came.
    pub fn answer(&self, secret: &ClusterSecret, answer: Answer) -> [u8; ANSWER_BYTES] {
        let Stage::Judged { caller } = self.stage else { unreachable!("only who came is answered") };
        let said = [answer.to_byte()];
        let proof = secret.proof(&[OF_HOST, &caller, &self.nonce, &self.received, &said]);
        let mut bytes = [0; ANSWER_BYTES];
        bytes[0] = said[0];
        bytes[1..].copy_from_slice(&proof);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::preface::Purpose;
    use super::super::queue::Lane;
    use super::*;

    const CALLERS: Nonce = [1; NONCE_BYTES];
    const HOSTS: Nonce = [2; NONCE_BYTES];

    fn preface() -> Preface {
        Preface { cluster: "c".into(), from: "n1".into(), to: "n2".into(), purpose: Purpose::Peer(Lane::Bulk) }
    }

    /// Gives the host bytes in pieces of `piece`, and says what came of the last.
    fn feed(host: &mut HostSteps, secret: &ClusterSecret, mut bytes: &[u8], piece: usize) -> Step {
        let mut last = Step::Waits;
        while !bytes.is_empty() {
            let count = bytes.len().min(piece).min(host.wanted());
            last = host.take(secret, &bytes[..count]);
            bytes = &bytes[count..];
            if matches!(last, Step::Stranger(_)) || host.wanted() == 0 {
                break;
            }
        }
        last
    }

    #[test]
    fn who_knows_the_secret_is_let_in_and_knows_that_the_other_does() {
        let secret = ClusterSecret::of(b"burrow");
        for piece in [1, 7, 1000] {
            let (caller, mut host) = (CallerSteps::new(CALLERS, &preface()), HostSteps::new(HOSTS));
            assert_eq!(feed(&mut host, &secret, &caller.call(), piece), Step::Send(HOSTS));
            assert_eq!(feed(&mut host, &secret, &caller.prove(&secret, &HOSTS), piece), Step::Came(preface()));
            assert_eq!(host.wanted(), 0, "what follows is for others");
            let answer = host.answer(&secret, Answer::NotLeading);
            assert_eq!(caller.answered(&secret, &HOSTS, &answer), Some(Answer::NotLeading));
            let mut forged = answer;
            forged[0] = Answer::Welcome.to_byte();
            assert_eq!(caller.answered(&secret, &HOSTS, &forged), None, "the answer is a part of its proof");
        }
    }

    #[test]
    fn strangers_get_nothing() {
        let (secret, guessed) = (ClusterSecret::of(b"burrow"), ClusterSecret::of(b"carrot"));
        let stranger = |bytes: &[u8]| {
            let mut host = HostSteps::new(HOSTS);
            match feed(&mut host, &secret, bytes, 5) {
                Step::Stranger(why) => why,
                step => panic!("{step:?}"),
            }
        };
        assert_eq!(stranger(b"AMQP\0\0\x09\x01"), "it speaks something else");
        assert_eq!(stranger(b"GET / HTTP/1.1\r\n"), "it speaks something else");
        let caller = CallerSteps::new(CALLERS, &preface());
        let call = caller.call();
        let with = |proof: Vec<u8>| [&call[..], &proof].concat();
        let wrong = "it doesn't know the cluster's secret";
        assert_eq!(stranger(&with(caller.prove(&guessed, &HOSTS))), wrong);
        assert_eq!(stranger(&with(caller.prove(&secret, &[3; NONCE_BYTES]))), wrong, "heard at another time");
        let mut changed = caller.prove(&secret, &HOSTS);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(stranger(&with(changed)), wrong, "said by somebody else");
        let long = [&[0; PROOF_BYTES][..], &u16::MAX.to_be_bytes()].concat();
        assert_eq!(stranger(&with(long)), "it has too much to say");
        let nothing = [&[0; PROOF_BYTES][..], &0u16.to_be_bytes()].concat();
        assert_eq!(stranger(&with(nothing)), "it has too much to say");
    }

    #[test]
    fn a_proof_said_back_is_none() {
        let secret = ClusterSecret::of(b"burrow");
        let caller = CallerSteps::new(CALLERS, &preface());
        // Somebody who doesn't know the secret and says back what it heard.
        let heard = caller.prove(&secret, &CALLERS);
        let mut answer = [0; ANSWER_BYTES];
        answer[1..].copy_from_slice(&heard[..PROOF_BYTES]);
        assert_eq!(caller.answered(&secret, &CALLERS, &answer), None);
    }
}
