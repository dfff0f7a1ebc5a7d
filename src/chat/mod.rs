//! Floor 4: messages → prompt text, through the template of the model.
