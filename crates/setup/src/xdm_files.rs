//! The field group and the schema that this version creates, from the files in `schemas/xdm`.

use platform::control::{FieldGroupBody, SchemaBody};

use crate::stage::{Mark, Stage};

const FIELD_GROUP: &str = include_str!("../../../schemas/xdm/field-group.json");
const SCHEMA: &str = include_str!("../../../schemas/xdm/schema.json");

/// The name of the dataset and the flow in the default deployment.
pub(crate) const EVENTS: &str = "Customer.io Message Events";

/// The field group for a tenant, which is given without a leading underscore.
pub(crate) fn field_group(tenant: &str, stage: &Stage, mark: &Mark) -> FieldGroupBody {
    let text = FIELD_GROUP.replace("{TENANT_ID}", tenant);
    let body: FieldGroupBody =
        serde_json::from_str(&text).expect("the file is part of this build, and a test reads it");
    FieldGroupBody { title: stage.name(&body.title), description: mark.on(&body.description), ..body }
}

/// The schema that contains this field group.
pub(crate) fn schema(field_group: &str, stage: &Stage, mark: &Mark, profile: bool) -> SchemaBody {
    let text = SCHEMA.replace("{FIELD_GROUP_ID}", field_group);
    let body: SchemaBody = serde_json::from_str(&text).expect("the file is part of this build, and a test reads it");
    let immutable_tags = if profile { vec!["union".to_owned()] } else { Vec::new() };
    SchemaBody { title: stage.name(&body.title), description: mark.on(&body.description), immutable_tags, ..body }
}

/// The titles of the field group and the schema.
pub(crate) fn titles(stage: &Stage) -> (String, String) {
    let mark = stage.shared_mark();
    (field_group("t", stage, &mark).title, schema("g", stage, &mark, false).title)
}

#[cfg(test)]
mod tests {
    use platform::control::FIELD_GROUP_DEFINITION;

    use super::*;

    fn stage(deployment: &str) -> Stage {
        Stage {
            deployment: deployment.parse().unwrap(),
            organisation: "ACME@AdobeOrg".parse().unwrap(),
            sandbox: "dev".parse().unwrap(),
        }
    }

    #[test]
    fn the_xdm_files_are_valid_and_get_the_stages_mark() {
        let stage = stage("shop");
        let mark = stage.shared_mark();
        let group = field_group("acme", &stage, &mark);
        assert_eq!(Mark::of(&group.description), Some(mark.clone()));
        assert!(
            group.title.ends_with("(shop)")
                && group.definitions[FIELD_GROUP_DEFINITION]["properties"]["_acme"].is_object()
        );
        let body = schema("https://ns.adobe.com/acme/mixins/1", &stage, &mark, false);
        assert_eq!(body.all_of.last().unwrap().to, "https://ns.adobe.com/acme/mixins/1");
        assert!(body.immutable_tags.is_empty() && schema("g", &stage, &mark, true).immutable_tags == ["union"]);
        let (group_title, schema_title) = titles(&stage);
        assert_ne!(group_title, schema_title, "titles are unique over both kinds");
    }
}
