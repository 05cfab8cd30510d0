//! Which GPUs are taken: whole ones by one attempt each, others shared by attempts that each asked for a part of the memory.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What an attempt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// GPUs.
    pub(crate) count: u32,
    /// Bytes on each of them that it may use, beside others; `None`: it has them alone.
    pub(crate) memory_bytes: Option<u64>,
}

/// How one GPU is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    Alone,
    /// By so many attempts, and so much memory is left.
    Shared {
        attempts: u32,
        left: u64,
    },
}

/// The GPUs of a node, by number.
pub(crate) struct Pool {
    /// Bytes; 0 where nobody tells.
    memory: Vec<u64>,
    uses: Mutex<Vec<Use>>,
    freed: Notify,
    /// Whoever waits for GPUs is first in this line, so that a large wish is not passed by small ones for ever.
    line: tokio::sync::Mutex<()>,
}

/// GPUs that an attempt has, until this is dropped.
#[must_use]
pub(crate) struct Claim {
    pool: Arc<Pool>,
    numbers: Vec<usize>,
    share: Option<u64>,
}

impl Pool {
    pub(super) fn new(memory: Vec<u64>) -> Self {
        let uses = Mutex::new(vec![Use::Free; memory.len()]);
        Self { memory, uses, freed: Notify::new(), line: tokio::sync::Mutex::default() }
    }

    /// Takes GPUs, after everybody who asked before; `waits` is called once where they are not free at once.
    pub(super) async fn claim(self: &Arc<Self>, asked: Asked, waits: impl AsyncFnOnce()) -> Result<Claim, String> {
        self.check(asked)?;
        let claim = |numbers| Claim { pool: Arc::clone(self), numbers, share: asked.memory_bytes };
        if let Ok(_first) = self.line.try_lock()
            && let Some(numbers) = self.take(asked)
        {
            return Ok(claim(numbers));
        }
        waits().await;
        let _first = self.line.lock().await;
        loop {
            let freed = self.freed.notified();
            if let Some(numbers) = self.take(asked) {
                return Ok(claim(numbers));
            }
            freed.await;
        }
    }

    /// Takes those GPUs that an attempt has already; nothing where they are not here any more.
    pub(super) fn take_back(self: &Arc<Self>, numbers: Vec<usize>, share: Option<u64>) -> Option<Claim> {
        let mut uses = self.uses();
        if numbers.iter().any(|number| *number >= uses.len()) {
            return None;
        }
        self.occupy(&mut uses, &numbers, share);
        drop(uses);
        Some(Claim { pool: Arc::clone(self), numbers, share })
    }

    /// Refuses what even an idle node cannot give.
    fn check(&self, asked: Asked) -> Result<(), String> {
        let need = asked.memory_bytes.unwrap_or(0);
        let able = self.memory.iter().filter(|memory| **memory >= need).count();
        if able >= asked.count as usize {
            return Ok(());
        }
        let largest =
            self.memory.iter().max().map_or_else(String::new, |most| format!(", the largest of {most} bytes"));
        let wanted = asked.memory_bytes.map_or_else(String::new, |bytes| format!(" of {bytes} bytes or more"));
        let (has, count) = (self.memory.len(), asked.count);
        Err(format!("the task needs {count} GPUs{wanted}, and this node offers {has}{largest}"))
    }

    fn take(&self, asked: Asked) -> Option<Vec<usize>> {
        let mut uses = self.uses();
        let numbers = choose(&self.memory, &uses, asked)?;
        self.occupy(&mut uses, &numbers, asked.memory_bytes);
        Some(numbers)
    }

    fn occupy(&self, uses: &mut [Use], numbers: &[usize], share: Option<u64>) {
        for number in numbers {
            uses[*number] = match (uses[*number], share) {
                (_, None) => Use::Alone,
                (Use::Shared { attempts, left }, Some(share)) => {
                    Use::Shared { attempts: attempts + 1, left: left.saturating_sub(share) }
                }
                (_, Some(share)) => Use::Shared { attempts: 1, left: self.memory[*number].saturating_sub(share) },
            };
        }
    }

    fn give_back(&self, claim: &Claim) {
        let mut uses = self.uses();
        for number in &claim.numbers {
            uses[*number] = match (uses[*number], claim.share) {
                (Use::Shared { attempts, left }, Some(share)) if attempts > 1 => {
                    Use::Shared { attempts: attempts - 1, left: left + share }
                }
                _ => Use::Free,
            };
        }
        self.freed.notify_waiters();
    }

    fn uses(&self) -> MutexGuard<'_, Vec<Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// GPUs that fit: shared ones with the least left over first, so that whole ones stay free.
fn choose(memory: &[u64], uses: &[Use], asked: Asked) -> Option<Vec<usize>> {
    let left_over = |number: usize| match (uses[number], asked.memory_bytes) {
        (Use::Free, None) => Some((1, memory[number])),
        (Use::Free, Some(share)) => memory[number].checked_sub(share).map(|left| (1, left)),
        (Use::Shared { left, .. }, Some(share)) => left.checked_sub(share).map(|left| (0, left)),
        (Use::Alone, _) | (Use::Shared { .. }, None) => None,
    };
    let mut fitting: Vec<_> = (0..memory.len()).filter_map(|number| Some((left_over(number)?, number))).collect();
    fitting.sort_unstable();
    let numbers: Vec<usize> = fitting.into_iter().map(|(_, number)| number).take(asked.count as usize).collect();
    (numbers.len() == asked.count as usize).then_some(numbers)
}

impl Claim {
    /// The GPUs' numbers on this node.
    pub(crate) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The memory on each that the attempt asked for.
    pub(crate) const fn share(&self) -> Option<u64> {
        self.share
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pool.give_back(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Asked = Asked { count: 1, memory_bytes: None };

    fn share(bytes: u64) -> Asked {
        Asked { count: 1, memory_bytes: Some(bytes) }
    }

    async fn at_once(pool: &Arc<Pool>, asked: Asked) -> Claim {
        pool.claim(asked, async || panic!("{asked:?} is not free")).await.unwrap()
    }

    #[tokio::test]
    async fn a_whole_gpu_is_one_attempts_and_the_next_waits_for_it() {
        let pool = Arc::new(Pool::new(vec![8, 8]));
        let (first, second) = (at_once(&pool, ONE).await, at_once(&pool, ONE).await);
        assert_ne!(first.numbers(), second.numbers());
        let (said, hears) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.claim(ONE, async || said.send(()).unwrap()).await.unwrap().numbers().to_vec() }
        });
        hears.await.unwrap();
        let freed = second.numbers().to_vec();
        drop(second);
        assert_eq!(waiting.await.unwrap(), freed);
        drop(first);
    }

    #[tokio::test]
    async fn shares_fill_one_gpu_before_they_break_another() {
        let pool = Arc::new(Pool::new(vec![16, 8]));
        let small = at_once(&pool, share(4)).await;
        assert_eq!(small.numbers(), [1], "the one that it leaves the least of");
        let beside = at_once(&pool, share(4)).await;
        assert_eq!(beside.numbers(), [1]);
        let whole = at_once(&pool, ONE).await;
        assert_eq!(whole.numbers(), [0]);
        drop((small, whole));
        let both = Asked { count: 2, memory_bytes: Some(4) };
        assert_eq!(at_once(&pool, both).await.numbers(), [1, 0]);
        drop(beside);
        assert_eq!(pool.uses().clone(), [Use::Free, Use::Free]);
    }

    #[tokio::test]
    async fn what_no_gpu_here_has_is_refused_with_what_there_is() {
        let pool = Arc::new(Pool::new(vec![16, 8]));
        let refused = async |asked| pool.claim(asked, async || ()).await.err().unwrap();
        let three = Asked { count: 3, memory_bytes: None };
        let said = "the task needs 3 GPUs, and this node offers 2, the largest of 16 bytes";
        assert_eq!(refused(three).await, said);
        assert!(refused(share(17)).await.contains("1 GPUs of 17 bytes or more"));
        assert!(refused(Asked { count: 2, memory_bytes: Some(9) }).await.contains("2 GPUs of 9 bytes or more"));
    }
}
