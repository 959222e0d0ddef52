//! The tables that `template.yaml` declares. Local tables can't differ from deployed tables, because both are made from it.

use anyhow::{Context, Result, anyhow};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, Projection,
    StreamSpecification, TimeToLiveSpecification,
};
use serde::Deserialize;
use yaml_serde::Value;

/// The text of `template.yaml` in the root of the repository.
pub const TEMPLATE: &str = include_str!("../../template.yaml");

/// A table that the template declares.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    attribute_definitions: Vec<Attribute>,
    key_schema: Vec<KeyPart>,
    #[serde(default)]
    global_secondary_indexes: Vec<Index>,
    time_to_live_specification: Option<TimeToLive>,
    stream_specification: Option<Stream>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyPart {
    attribute_name: String,
    key_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index_name: String,
    key_schema: Vec<KeyPart>,
    projection: IndexProjection,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexProjection {
    projection_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLive {
    attribute_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    stream_view_type: String,
}

impl Table {
    /// The names of the key attributes: the partition key, then the sort key if there is one.
    pub fn key(&self) -> Vec<&str> {
        self.key_schema.iter().map(|part| part.attribute_name.as_str()).collect()
    }

    /// The table whose name the function reads from this environment variable.
    ///
    /// # Errors
    /// No function in the template has the variable, or its value is not a reference to a table.
    pub fn of_variable(name: &str) -> Result<Self> {
        let template: Value = yaml_serde::from_str(TEMPLATE)?;
        let resources = template.get("Resources").context("the template has no resources")?;
        let mut functions =
            resources.as_mapping().into_iter().flatten().map(|(_, resource)| resource).filter(|resource| {
                resource.get("Type").and_then(Value::as_str) == Some("AWS::Serverless::Function")
            });
        let variable = functions
            .find_map(|function| function.get("Properties")?.get("Environment")?.get("Variables")?.get(name))
            .with_context(|| format!("no function in the template has a variable {name}"))?;
        let Value::Tagged(mut reference) = variable.clone() else {
            return Err(anyhow!("{name} is not a reference in the template"));
        };
        // `!If [condition, !Ref the stack's own table, !Ref the name of one that exists already]`
        if reference.tag == "If"
            && let Some(Value::Tagged(own)) = reference.value.get(1)
        {
            reference = own.clone();
        }
        let table = reference.value.as_str().and_then(|id| resources.get(id));
        let properties = table
            .filter(|table| table.get("Type").and_then(Value::as_str) == Some("AWS::DynamoDB::Table"))
            .and_then(|table| table.get("Properties"))
            .with_context(|| format!("{name} does not refer to a table of the template"))?;
        Ok(yaml_serde::from_value(properties.clone())?)
    }

    /// The same table without a stream.
    pub fn without_stream(self) -> Self {
        Self { stream_specification: None, ..self }
    }

    /// Creates the table under this name.
    ///
    /// # Errors
    /// DynamoDB refuses, for instance because the table exists already.
    pub async fn create(&self, client: &Client, name: &str) -> Result<()> {
        let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        for attribute in &self.attribute_definitions {
            request = request.attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(&attribute.attribute_name)
                    .attribute_type(attribute.attribute_type.as_str().into())
                    .build()?,
            );
        }
        request = request.set_key_schema(Some(key_schema(&self.key_schema)?));
        for index in &self.global_secondary_indexes {
            let projection = Projection::builder();
            let projection =
                projection.projection_type(index.projection.projection_type.as_str().into()).build();
            request = request.global_secondary_indexes(
                GlobalSecondaryIndex::builder()
                    .index_name(&index.index_name)
                    .set_key_schema(Some(key_schema(&index.key_schema)?))
                    .projection(projection)
                    .build()?,
            );
        }
        request = request.set_stream_specification(self.stream()?);
        request.send().await.with_context(|| format!("creating table {name}"))?;
        if let Some(time_to_live) = &self.time_to_live_specification {
            let specification = TimeToLiveSpecification::builder()
                .attribute_name(&time_to_live.attribute_name)
                .enabled(true)
                .build()?;
            let request = client.update_time_to_live().table_name(name);
            request
                .time_to_live_specification(specification)
                .send()
                .await
                .with_context(|| format!("setting the time to live of table {name}"))?;
        }
        Ok(())
    }

    /// Switches on the stream of a table that exists already under this name, if the template declares a stream and the
    /// table has none.
    ///
    /// # Errors
    /// DynamoDB refuses, for instance because there is no such table.
    pub async fn ensure_stream(&self, client: &Client, name: &str) -> Result<()> {
        let Some(stream) = self.stream()? else { return Ok(()) };
        let described = client.describe_table().table_name(name).send().await;
        let described = described.with_context(|| format!("describing table {name}"))?;
        let existing = described.table.and_then(|table| table.stream_specification);
        if existing.is_some_and(|existing| existing.stream_enabled) {
            return Ok(());
        }
        let request = client.update_table().table_name(name).stream_specification(stream);
        request.send().await.with_context(|| format!("switching on the stream of table {name}"))?;
        Ok(())
    }

    fn stream(&self) -> Result<Option<StreamSpecification>> {
        let Some(stream) = &self.stream_specification else { return Ok(None) };
        let specification = StreamSpecification::builder().stream_enabled(true);
        let view = stream.stream_view_type.as_str().into();
        Ok(Some(specification.stream_view_type(view).build()?))
    }
}

fn key_schema(parts: &[KeyPart]) -> Result<Vec<KeySchemaElement>> {
    let elements = parts.iter().map(|part| {
        let element = KeySchemaElement::builder().attribute_name(&part.attribute_name);
        Ok(element.key_type(part.key_type.as_str().into()).build()?)
    });
    elements.collect()
}
