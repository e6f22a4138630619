//! Facts of the engine as sentences.

use platter::chain::LinkProblem;

use crate::output::for_terminal;

/// What is wrong with a link of a chain.
pub(crate) fn of_problem(problem: &LinkProblem) -> String {
    match problem {
        LinkProblem::Missing => "there is no such file".into(),
        LinkProblem::Cyclic => "the chain leads back to this file and would never end".into(),
        LinkProblem::TooDeep => format!(
            "the chain is longer than {} files",
            platter::chain::Chain::MAX_LINKS
        ),
        LinkProblem::WrongFormat { claimed, found } => {
            format!("the overlay says it is {claimed}, but it looks like {found}")
        }
        LinkProblem::NotAllowed(why) => {
            format!(
                "not opened: {} (--allow-outside follows it all the same)",
                for_terminal(why)
            )
        }
        LinkProblem::Remote(why) => {
            format!("never opened from inside an image: {}", for_terminal(why))
        }
        LinkProblem::Encrypted(how) => format!("encrypted ({how}): not readable yet"),
        LinkProblem::Unreadable(error) => error.to_string(),
    }
}
