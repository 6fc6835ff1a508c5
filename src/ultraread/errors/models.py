"""Models that are refused."""

from ultraread.errors.root import UltraReadError


class ModelRefused(UltraReadError):
    """The model cannot be trusted on this machine; it was not loaded."""

    code = "model_refused"
    http_status = 422
    exit_status = 5


class ModelUnknown(ModelRefused):
    """No model of that name, version or path."""

    code = "model_unknown"
    http_status = 404
    remedy = "`ultraread models ls` lists what there is."


class ModelCardInvalid(ModelRefused):
    """The card is missing or does not follow its schema."""

    code = "model_card_invalid"
    remedy = "Export the model again; the schema is models/card.schema.json."


class ModelHashMismatch(ModelRefused):
    """The model's bytes are not those that the card was written for."""

    code = "model_hash_mismatch"
    remedy = "Install the model again from its origin; do not edit the card."


class ModelFormatForbidden(ModelRefused):
    """Not an ONNX file; pickles are never opened."""

    code = "model_format_forbidden"
    remedy = "Export to ONNX."


class ModelInvalid(ModelRefused):
    """ONNX that the checker or the runtime does not accept."""

    code = "model_invalid"
    remedy = "Export the model again."


class ModelExternalData(ModelRefused):
    """Weights outside the .onnx file could be exchanged unseen."""

    code = "model_external_data"
    remedy = "Save the model with its weights inside the .onnx file."


class ModelOperatorNotAllowed(ModelRefused):
    """An operator outside the standard ONNX domains."""

    code = "model_op_not_allowed"
    remedy = "Export with the operators of the ai.onnx domain only."


class ModelTooLarge(ModelRefused):
    """Larger than a model may be here."""

    code = "model_too_large"
    remedy = "Models of up to 1 GiB are taken."


class ModelIoMismatch(ModelRefused):
    """Inputs or outputs are not those that the card states."""

    code = "model_io_mismatch"
    remedy = "Export with the input and outputs that the card names."


class ModelGoldenMismatch(ModelRefused):
    """The model does not reproduce its golden pair on this machine."""

    code = "model_golden_mismatch"
    remedy = "Do not use it here; compare ONNX Runtime's version and the processor with the card's."


class ModelOutputInvalid(ModelRefused):
    """NaN, infinite or out-of-range outputs."""

    code = "model_output_invalid"
    remedy = "Withdraw this model version."


class ModelConfigInvalid(ModelRefused):
    """The configuration that came with the model is not one that is understood."""

    code = "model_config_invalid"
    remedy = "Correct it, or leave it out and state its values as options: `ultraread models init --help`."


class LossNotFinite(ModelRefused):
    """The loss became NaN or infinite; training stopped at the named step."""

    code = "training_loss_not_finite"
    remedy = "Look at the named images, or lower learning_rate; the last checkpoint is from before."


class ModelParityFailed(ModelRefused):
    """The exported model does not compute what the trained network computes."""

    code = "model_parity_failed"
    remedy = "Nothing was written. Compare the versions of torch, onnx and ONNX Runtime with the card's."


class EvaluationInvalid(ModelRefused):
    """The evaluation is missing, unreadable, or of another model."""

    code = "evaluation_invalid"
    remedy = "Run `ultraread evaluate` on this model."


class PromotionRefused(ModelRefused):
    """The model version has not passed the gates of the alias."""

    code = "promotion_refused"
    http_status = 409
    remedy = "The named gates must pass first; the alias stays where it was."


class ModelVersionTaken(ModelRefused):
    """Another model is registered under this name and version."""

    code = "model_version_taken"
    http_status = 409
    remedy = "Give the card a new version and export again; what is registered never changes."


class ModelWithdrawn(ModelRefused):
    """The model version was withdrawn; nothing new is read with it."""

    code = "model_withdrawn"
    http_status = 409
    remedy = "Choose another version; `ultraread models ls` shows the reason."
