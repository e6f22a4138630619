//! How an operation is plugged into the window.
//!
//! A pane or a menu asks for an operation with [`PaneOutput::Operate`](crate::pane::PaneOutput) and
//! a [`Request`]. What the user fills in, if anything, is a *form*: a relm4 component in a folder
//! of its own, that knows its fields and nothing else:
//!
//! - `type Output = FormOutput`; `type Root` is any widget; `type Init` is what it likes;
//! - whenever its fields change it says [`FormOutput::Ready`] with a [`Draft`] of the operation as
//!   the fields have it now, or [`FormOutput::Incomplete`] with the reason why it cannot be done.
//!
//! All else is shared. `operation_window` frames the form (or stands alone as the sheet of an
//! operation without one), draws up the draft off the main thread and shows its
//! [`Plan`](platter::op::plan::Plan), asks, looks again when the user confirms, and keeps the
//! values should the job fail. `jobs` runs it. `new_image` is a form to copy.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use platter::job::Work;
use platter::op::plan::Plan;
use platter::op::sample::Effort;
use platter::{Control, Stop};
use relm4::gtk::{self, prelude::*};
use relm4::{Component, ComponentController, Sender};

use crate::comparison::Comparison;
use crate::operation_window::OperationInput;

/// An operation, looked at and ready to run.
pub(crate) struct Operation {
    /// What it will do.
    pub(crate) plan: Box<Plan>,
    /// How.
    pub(crate) work: Work,
    /// What comes then.
    pub(crate) after: After,
}

/// What the window does around an operation: before it, and once it has succeeded.
#[derive(Clone, Debug, Default)]
pub(crate) struct After {
    /// Opens the image that was made.
    pub(crate) opens: bool,
    /// Takes the operation back; offered in passing.
    pub(crate) undo: Option<Draft>,
    /// Tries it on a private copy; offered in the sheet, which shows what was found out.
    pub(crate) trial: Option<Draft>,
    /// It has applied the edits that waited for the image that it changed.
    pub(crate) applies_edits: bool,
    /// What its result is asked about.
    pub(crate) asks: Option<Asks>,
    /// What is tried a little of, to say how long it will take.
    pub(crate) effort: Option<Effort>,
    /// Where it leaves what a comparison has found.
    pub(crate) compared: Option<Arc<OnceLock<Arc<Comparison>>>>,
}

/// The question that follows from what an operation has found, made when it is over.
#[derive(Clone)]
pub(crate) struct Asks(Arc<AskNow>);

type AskNow = dyn Fn() -> Option<Request> + Send + Sync;

impl Asks {
    pub(crate) fn new(ask: impl Fn() -> Option<Request> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(crate) fn request(&self) -> Option<Request> {
        (self.0)()
    }
}

/// What is offered in passing when an operation is over.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    /// To take it back.
    Undo(Draft),
    /// To look at the differences of this image on its map.
    Differences(PathBuf),
}

/// Draws up an operation from the images as they are now. Blocks: called off the main thread, and
/// as often as somebody wants to know.
#[derive(Clone)]
pub(crate) struct Draft(Arc<DrawUp>);

type DrawUp = dyn Fn(&Control) -> Result<Operation, Stop> + Send + Sync;

impl Draft {
    pub(crate) fn new(
        draw_up: impl Fn(&Control) -> Result<Operation, Stop> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(draw_up))
    }

    /// Looks at the images.
    ///
    /// # Errors
    /// Why it cannot be done, or [`Stop::Cancelled`].
    pub(crate) fn draw_up(&self, control: &Control) -> Result<Operation, Stop> {
        (self.0)(control)
    }
}

/// What a form says of its fields.
#[derive(Debug)]
pub(crate) enum FormOutput {
    /// Nothing can be done with them, for a reason worth saying unless a field says it itself.
    Incomplete(Option<String>),
    /// This can.
    Ready(Draft),
}

/// What is asked of the window.
pub(crate) struct Request {
    /// The title of the dialog.
    pub(crate) heading: String,
    /// What it is about, dim below it.
    pub(crate) about: String,
    /// What the user is asked.
    pub(crate) ask: Ask,
}

/// How much the user is asked.
pub(crate) enum Ask {
    /// To fill in a form.
    Form(FormBuilder),
    /// To confirm.
    Sheet(Draft),
    /// Nothing: it is small and can be taken back.
    Nothing(Draft),
}

/// Makes a form whose words go to the operation window.
pub(crate) type FormBuilder = Box<dyn FnOnce(&Sender<OperationInput>) -> Form>;

/// A form, alive as long as this.
pub(crate) struct Form {
    pub(crate) widget: gtk::Widget,
    _component: Box<dyn Any>,
}

/// The form `C`.
pub(crate) fn form<C>(init: C::Init) -> FormBuilder
where
    C: Component<Output = FormOutput>,
    C::Init: 'static,
    C::Root: IsA<gtk::Widget>,
{
    Box::new(move |input| {
        let component = C::builder()
            .launch(init)
            .forward(input, OperationInput::Form);
        Form {
            widget: component.widget().clone().upcast(),
            _component: Box::new(component),
        }
    })
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.plan.title).finish()
    }
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asks")
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.heading).finish()
    }
}
