//! Zygotes of stored images: one for each that tasks ran in lately, used once the probes were denied in what it forks.
//!
//! A zygote does not keep its image from being removed; it ends with it.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manta_image::Seen;
use manta_sandbox::{Engine, Template};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Kept, environment, template};
use crate::agent::Node;
use crate::containment::Containment;
use crate::image::Stored;
use crate::supervisor::{Kind, Supervisor, blocking};

/// Stored images at once that have a zygote; one more takes the place of the one that no task asked for for longest.
const IMAGES_MAX: usize = 8;
/// How often it is looked whether the images are there still.
const LOOK: Duration = Duration::from_secs(2);
/// Digits of an image's digest that name its template.
const NAME_DIGITS: usize = 40;

/// The stored images that have a zygote, by digest.
pub(super) struct WarmImages {
    supervisor: Supervisor,
    images: Mutex<BTreeMap<String, Arc<WarmImage>>>,
}

/// A stored image of which tasks are started warm, once that is known to contain them.
struct WarmImage {
    template: Template,
    seen: Arc<Seen>,
    containment: Containment,
    /// Ends the search for a verdict.
    stop: CancellationToken,
    used: Mutex<Instant>,
    /// Whether the engine was asked for its zygote.
    is_asked: AtomicBool,
}

impl WarmImages {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, images: Mutex::default() }
    }

    /// The name of the template from which tasks in a stored image may be started.
    ///
    /// # Errors
    /// Why such a task starts cold for now.
    pub(super) async fn template(&self, node: &Node, stored: &Stored, kept: Kept<'_>) -> Result<String, String> {
        let image = self.image(node, stored, kept)?;
        if kept.is_awaited {
            image.containment.held().await?;
        }
        image.containment.held_already()?;
        if !image.is_asked.swap(true, Ordering::Relaxed)
            && let Err(error) = node.engine.keep_warm(image.template.clone())
        {
            // An engine that is gone is noticed by the start that follows.
            tracing::warn!(image = stored.digest(), %error, "no zygote can be asked for");
        }
        Ok(image.template.name.clone())
    }

    /// The image as it is kept here; one that is new is looked into in the background.
    fn image(&self, node: &Node, stored: &Stored, kept: Kept<'_>) -> Result<Arc<WarmImage>, String> {
        let (digest, seen) = (stored.digest(), stored.seen());
        let mut images = self.images();
        if let Some(image) = images.get(&digest).filter(|image| image.seen.is_same(&seen)) {
            *image.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Ok(Arc::clone(image));
        }
        // It was removed and taken in again: what was forked before sees the files that are gone.
        let_go(&mut images, &digest, &*node.engine);
        let template = of_image(node, stored, kept.standbys)?;
        let image = Arc::new(WarmImage {
            containment: kept.containment.of_image(template.clone(), digest.clone()),
            template,
            seen,
            stop: self.supervisor.stopping().child_token(),
            used: Mutex::new(Instant::now()),
            is_asked: AtomicBool::new(false),
        });
        while images.len() >= IMAGES_MAX {
            let least = images.iter().min_by_key(|(_, image)| image.last_use()).map(|(digest, _)| digest.clone());
            let_go(&mut images, &least.expect("there are as many as may be"), &*node.engine);
        }
        images.insert(digest, Arc::clone(&image));
        let (checked, engine, host) = (Arc::clone(&image), Arc::clone(&node.engine), node.images.host().clone());
        self.supervisor.spawn("containment in an image", Kind::Contained, async move {
            checked.containment.keep(&engine, &host, &checked.stop, || ()).await;
        });
        Ok(image)
    }

    /// What a person who looks at this node should know of them.
    pub(super) fn notes(&self) -> Vec<String> {
        self.images().values().map(|image| image.containment.note()).collect()
    }

    /// Lets zygotes go whose image was removed, until the agent stops.
    pub(super) async fn keep(&self, engine: &dyn Engine, stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            let seen: Vec<(String, Arc<Seen>)> =
                self.images().iter().map(|(digest, image)| (digest.clone(), Arc::clone(&image.seen))).collect();
            if seen.is_empty() {
                continue;
            }
            let gone = blocking(move || seen.into_iter().filter(|(_, seen)| !seen.is_there()).collect::<Vec<_>>());
            for (digest, seen) in gone.await {
                let mut images = self.images();
                // Another of the same digest may have come meanwhile.
                if images.get(&digest).is_some_and(|image| image.seen.is_same(&seen)) {
                    tracing::info!(image = digest, "the image was removed, and its zygote ends");
                    images[&digest].containment.forget();
                    let_go(&mut images, &digest, engine);
                }
            }
        }
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<String, Arc<WarmImage>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WarmImage {
    fn last_use(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn let_go(images: &mut BTreeMap<String, Arc<WarmImage>>, digest: &str, engine: &dyn Engine) {
    let Some(image) = images.remove(digest) else { return };
    image.stop.cancel();
    engine.let_go(&image.template.name);
}

/// The template of an image: what a task in it finds, but for what is the task's own.
fn of_image(node: &Node, stored: &Stored, standbys: u32) -> Result<Template, String> {
    let digits = stored.digest();
    let digits = digits.rsplit(':').next().expect("a text has a last part");
    let name = format!("image_{}", &digits[..digits.len().min(NAME_DIGITS)]);
    let root = (stored.python()?, stored.mounts(), stored.links());
    let env = environment(stored.variables());
    Ok(Template { env, ..template(&node.name, root, &node.runtime, &name, &stored.preload()?, standbys) })
}
