//! What goes straight to journald, field by field: cleaned of passwords before it is sent.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber, Value};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::redact;

/// A layer that hears of everything as text without passwords.
pub(super) struct Cleaned<L>(pub L);

/// The most fields that an event can have.
const FIELDS: usize = 32;

/// Fields with what they are to be.
type Values<'a> = [(&'a Field, Option<&'a dyn Value>); FIELDS];

impl<S, L> Layer<S> for Cleaned<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (metadata, texts) = (span.metadata(), Texts::of(|texts| span.record(texts)));
        let Some(values) = texts.values() else {
            return self.0.on_new_span(span, id, context);
        };
        let values = metadata.fields().value_set(&values);
        let cleaned = match span.parent() {
            Some(parent) => Attributes::child_of(parent.clone(), metadata, &values),
            None if span.is_root() => Attributes::new_root(metadata, &values),
            None => Attributes::new(metadata, &values),
        };
        self.0.on_new_span(&cleaned, id, context);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let texts = Texts::of(|texts| record.record(texts));
        if let Some(values) = texts.values()
            && let Some(metadata) = context.metadata(id)
        {
            let values = metadata.fields().value_set(&values);
            self.0.on_record(id, &Record::new(&values), context);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (metadata, texts) = (event.metadata(), Texts::of(|texts| event.record(texts)));
        let Some(values) = texts.values() else {
            return self.0.on_event(event, context);
        };
        let values = metadata.fields().value_set(&values);
        let cleaned = match event.parent() {
            None if event.is_contextual() => Event::new(metadata, &values),
            parent => Event::new_child_of(parent.cloned(), metadata, &values),
        };
        self.0.on_event(&cleaned, context);
    }
}

/// Fields with their values as text.
#[derive(Default)]
struct Texts(Vec<(Field, String)>);

impl Texts {
    fn of(record: impl FnOnce(&mut Texts)) -> Texts {
        let mut texts = Texts::default();
        record(&mut texts);
        texts
    }

    /// Nothing where there are no fields.
    fn values(&self) -> Option<Values<'_>> {
        let (first, _) = self.0.first()?;
        let mut values: Values<'_> = [(first, None); FIELDS];
        for (value, (field, text)) in values.iter_mut().zip(&self.0) {
            *value = (field, Some(text));
        }
        Some(values)
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.clone(), redact::secrets(value).into_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps all that a layer hears, as journald's layer would send it.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<String>>);

    impl Visit for Heard {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let mut heard = self.0.lock().unwrap();
            heard.push_str(&format!("{field}={value:?}\n"));
        }
    }

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            span.record(&mut self.clone());
        }

        fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
            record.record(&mut self.clone());
        }

        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            event.record(&mut self.clone());
        }
    }

    #[test]
    fn no_password_reaches_the_journal() {
        const URL: &str = "postgres://app:s3cr3t@db/app";
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry().with(Cleaned(heard.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("run", from = URL, later = tracing::field::Empty);
            span.record("later", URL);
            let _entered = span.enter();
            let error = std::io::Error::other(URL);
            let dynamic: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(job = "app", tables = 7, text = URL, shown = %URL, debug = ?error, dynamic, "cannot read {URL}");
            tracing::warn!("password={}", "s3cr3t");
            tracing::info!(parent: None, "{URL}");
        });
        let heard = heard.0.lock().unwrap();
        assert!(!heard.contains("s3cr3t"), "{heard}");
        assert_eq!(heard.matches("postgres://app:********@db/app").count(), 8, "{heard}");
        for kept in ["job=\"app\"", "tables=\"7\"", "password=********"] {
            assert!(heard.contains(kept), "{heard}");
        }
    }
}
