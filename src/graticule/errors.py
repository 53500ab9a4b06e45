"""Everything that can go wrong, as one tree of classes.

    GraticuleError
    ├── RequestError            an HTTP request is refused at once
    │   ├── InvalidParameter · InvalidRequestBody · UnsupportedApiVersion      400
    │   ├── Unauthorized                                                      401
    │   ├── Forbidden                                                         403
    │   ├── NotFound · OutsideData                                            404
    │   ├── RenderLimitExceeded · AssetUnreadable                             400
    │   ├── Conflict                                                          409
    │   ├── SearchTimedOut                                                    400
    │   ├── BodyTooLarge                                                      413
    │   ├── UrlTooLong                                                        414
    │   └── TooManyRequests                                                   429
    └── IngestionError          an item or an operation fails, with a documented code
        ├── SourceError         the asset's source: address, access, transport
        ├── ValidityError       the STAC document
        ├── ConversionError     the raster
        ├── StateError          exists, missing, cancelled
        └── InternalError       ours

A leaf carries its public ``code`` (docs/reference/errors.md) and, for ingestion, whether trying again can help
(``retriable``). Raised without a message, the docstring is the message. ``api/errors.py`` maps request errors to HTTP
statuses; nothing below ``api`` knows HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class GraticuleError(Exception):
    """Something went wrong."""

    #: The code that clients see: in the HTTP envelope, or in an operation's history.
    code: ClassVar[str] = "InternalError"

    def __init__(self, message: str | None = None, *, target: str | None = None) -> None:
        """Keep the message for people, and the name of the thing it is about."""
        doc = type(self).__doc__ or GraticuleError.__doc__ or ""
        self.message = message if message is not None else doc.split("\n", 1)[0]
        self.target = target
        super().__init__(self.message)


# --- Requests that are refused at once -------------------------------------------------------------------------------


class RequestError(GraticuleError):
    """The request cannot be served."""

    code = "BadRequest"


class InvalidParameter(RequestError):
    """A parameter has a value that is not allowed."""

    code = "InvalidParameter"


class UnsupportedApiVersion(RequestError):
    """The api-version is not one of those served."""

    code = "UnsupportedApiVersionValue"


class InvalidRequestBody(RequestError):
    """The request body is not what this operation takes."""

    code = "InvalidRequestBody"


class Unauthorized(RequestError):
    """A valid bearer token is needed: get one with `graticule token`."""

    code = "Unauthorized"


class Forbidden(RequestError):
    """The token's role does not allow this."""

    code = "Forbidden"


class SignatureRefused(Forbidden):
    """The signature in the URL is missing a part, does not fit this blob, has expired or was revoked."""

    code = "AuthenticationFailed"


class NotFound(RequestError):
    """The thing asked for does not exist."""

    code = "NotFound"


class OutsideData(NotFound):
    """There are no pixels there: it lies outside the data."""

    code = "OutsideData"


class RenderLimitExceeded(RequestError):
    """This takes more pixels, memory or time than the catalog spends on one request: ask for less."""

    code = "RenderLimitExceeded"


class AssetUnreadable(RequestError):
    """The asset's file cannot be read as a raster: it is damaged, or of another kind."""

    code = "AssetUnreadable"


class Conflict(RequestError):
    """The thing exists already, or is being deleted."""

    code = "Conflict"


class PublicAccessNotPermitted(Conflict):
    """Managed assets are private: sign the URL with /sas/sign, or ask for sign=true."""

    code = "PublicAccessNotPermitted"


class BodyTooLarge(RequestError):
    """The request body is larger than this catalog accepts."""

    code = "RequestBodyTooLarge"


class UrlTooLong(RequestError):
    """The request's URL is longer than this catalog accepts: send the search as POST."""

    code = "UriTooLong"


class SearchTimedOut(RequestError):
    """The search takes longer than this catalog allows: narrow it by collections, datetime or bbox."""

    code = "SearchTimedOut"


class NotForged(GraticuleError):
    """A file or scene cannot be described as an Item, or what was asked of `graticule forge` is not possible."""

    code = "NotForged"


class ReadStopped(GraticuleError):
    """A read was stopped: its time was over, or nobody waits for it any more."""


class PreconditionFailed(RequestError):
    """The resource does not have the ETag that the request names."""

    code = "ConditionNotMet"


class RangeNotSatisfiable(RequestError):
    """The range lies outside the blob."""

    code = "InvalidRange"


class TooManyRequests(RequestError):
    """More work is waiting than this catalog takes on: try again after the time in Retry-After."""

    code = "TooManyRequests"


class Unavailable(RequestError):
    """The catalog cannot answer right now: try again."""

    code = "ServiceUnavailable"


# --- Items and operations that fail ----------------------------------------------------------------------------------


class IngestionError(GraticuleError):
    """An item could not be ingested."""

    code = "GenericIngestionError"
    #: May the same work succeed when it is done again?
    retriable: ClassVar[bool] = False


class SourceError(IngestionError):
    """A source could not be read."""

    code = "GenericHttpIngestionError"


class InvalidAssetHref(SourceError):
    """The href is malformed or relative: use an absolute http(s) URL."""

    code = "InvalidAssetHref"


class SourceNotFound(SourceError):
    """The source answers that the URL does not exist."""

    code = "IngestionResourceUriNotFound"


class SourceForbidden(SourceError):
    """The source denies access, or the address may not be fetched from."""

    code = "IngestionResourceForbidden"


class SourceAuthenticationFailed(SourceError):
    """The source rejects the credentials: renew the SAS token."""

    code = "IngestionAuthenticationFailed"


class PublicAccessRestricted(SourceError):
    """The source allows no anonymous access: sign the URL, or register an ingestion source for it."""

    code = "PublicAccessRestricted"


class ManagedIdentityInfoNotFound(SourceError):
    """The ingestion source names a managed identity that this catalog does not have: use a SAS token."""

    code = "ManagedIdentityInfoNotFound"


class SourceTimeout(SourceError):
    """The source did not answer in time."""

    code = "IngestionResourceTimeout"
    retriable = True


class SourceConnectionFailed(SourceError):
    """No connection to the source, or it broke off."""

    code = "IngestionResourceConnectionFailed"
    retriable = True


class SourceCertificateRejected(SourceConnectionFailed):
    """The source's TLS certificate is not valid for its host, or not signed by an authority known here."""

    retriable = False


class SourceFailed(SourceError):
    """The source answered with an error of its own."""

    code = "GenericHttpIngestionError"
    retriable = True

    def __init__(
        self, message: str | None = None, *, target: str | None = None, retry_after: float | None = None
    ) -> None:
        """Keep how long the source asks to be left alone, in seconds."""
        super().__init__(message, target=target)
        self.retry_after = retry_after


class SourceRefused(SourceError):
    """The source answered with a status that trying again will not change."""

    code = "GenericHttpIngestionError"


class EmptyAsset(SourceError):
    """The asset has no bytes."""

    code = "EmptyAsset"


class AssetTooLarge(SourceError):
    """The asset is larger than this catalog accepts: see GRATICULE_MAX_ASSET_BYTES."""

    code = "GenericIngestionError"


class ValidityError(IngestionError):
    """The document is not valid."""

    code = "InvalidInputData"


class InvalidInputData(ValidityError):
    """The item or collection has invalid fields."""

    code = "InvalidInputData"


class StacValidationFailed(ValidityError):
    """The item fails STAC validation."""

    code = "StacValidationFailed"


class ItemSizeExceeded(ValidityError):
    """The item's JSON is larger than allowed."""

    code = "ItemSizeExceeded"


class TotalAssetsExceeded(ValidityError):
    """The item has more assets than allowed."""

    code = "TotalAssetsExceeded"


class PatchValidation(ValidityError):
    """The patch is no merge patch (RFC 7396), or what it leaves is no Item."""

    code = "PatchValidation"


class InvalidStacCatalog(ValidityError):
    """The document is no STAC Catalog or Collection, or its links lead nowhere."""

    code = "InvalidStacCatalog"


class ImportFileValidationFailed(ValidityError):
    """The catalog or collection file cannot be read."""

    code = "ImportFileValidationFailed"


class InvalidGeoparquet(ValidityError):
    """The file is no stac-geoparquet."""

    code = "InvalidGeoparquet"


class PostItemCollectionSizeExceeded(ValidityError):
    """The body has more items than allowed."""

    code = "PostItemCollectionSizeExceeded"


class ConversionError(IngestionError):
    """An asset could not be converted."""

    code = "AssetTransformationError"


class CubeRefused(ConversionError):
    """A NetCDF or HDF5 asset is none, is damaged, or keeps its values in other files."""


class CogTransformationError(ConversionError):
    """Conversion to a Cloud Optimized GeoTIFF failed."""

    code = "CogTransformationError"


class CogTransformationTimeout(ConversionError):
    """Conversion took too long: split the file, or supply a COG."""

    code = "CogTransformationTimeout"


class ConversionCrashed(ConversionError):
    """The conversion process died."""

    code = "CogTransformationError"
    retriable = True


class StateError(IngestionError):
    """The catalog is not in the state that this work needs."""


class CollectionDoesNotExist(StateError):
    """The target collection does not exist: create it first."""

    code = "CollectionDoesNotExist"


class ItemAlreadyExists(StateError):
    """An item of this id exists in the collection."""

    code = "ItemAlreadyExistsInCollection"


class NoRecordsToDelete(StateError):
    """There is nothing to delete under this id."""

    code = "NoRecordsToDelete"


class NoRecordsToUpdate(StateError):
    """There is nothing to update under this id."""

    code = "NoRecordsToUpdate"


class NoRecordsToPatch(StateError):
    """There is nothing to patch under this id."""

    code = "NoRecordsToPatch"


class CanceledOperation(StateError):
    """The operation was cancelled."""

    code = "CanceledOperation"


class ErrorsInBatch(StateError):
    """One or more items of the batch failed."""

    code = "ErrorsInBatchOperation"


class InternalError(IngestionError):
    """The catalog failed; the log has the details under the operation's id."""

    code = "InternalError"


class BlobConflict(InternalError):
    """Managed storage holds other bytes under this name; names are written once."""


class InternalIntermittentError(InternalError):
    """The catalog failed in passing; try again after some minutes."""

    code = "InternalIntermitentError"  # the contract's spelling
    retriable = True


# --- Rendering -------------------------------------------------------------------------------------------------------


class RenderCrashed(GraticuleError):
    """A render process died; the log tells more. Another has taken its place."""


# --- Configuration ---------------------------------------------------------------------------------------------------


class SettingsError(GraticuleError):
    """A setting has a value that cannot work."""

    code = "InvalidSetting"


class DataFolderInUse(GraticuleError):
    """Another `graticule serve` runs on this data folder."""

    code = "DataFolderInUse"
