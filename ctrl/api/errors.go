package api

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
)

// codes says which Connect code each error code travels under.
var codes = map[pacav1.ErrorCode]connect.Code{
	pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR:   connect.CodeInvalidArgument,
	pacav1.ErrorCode_ERROR_CODE_INVALID:        connect.CodeInvalidArgument,
	pacav1.ErrorCode_ERROR_CODE_NOT_FOUND:      connect.CodeNotFound,
	pacav1.ErrorCode_ERROR_CODE_ALREADY_EXISTS: connect.CodeAlreadyExists,
	pacav1.ErrorCode_ERROR_CODE_CONFLICT:       connect.CodeAborted,
	pacav1.ErrorCode_ERROR_CODE_IN_USE:         connect.CodeFailedPrecondition,
	pacav1.ErrorCode_ERROR_CODE_TOO_LARGE:      connect.CodeResourceExhausted,
	pacav1.ErrorCode_ERROR_CODE_READ_ONLY:      connect.CodePermissionDenied,
	pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED:   connect.CodeResourceExhausted,
	pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE:    connect.CodeUnavailable,
	pacav1.ErrorCode_ERROR_CODE_COMPACTED:      connect.CodeOutOfRange,
}

// Refuse makes the error of a refused request. The rule, "W4", may be empty.
func Refuse(code pacav1.ErrorCode, field, rule, format string, args ...any) error {
	return RefuseWith(&pacav1.ErrorDetail{Code: code, Field: field, Rule: rule}, format, args...)
}

// RefuseWith makes the error of a refused request with a detail of one's own.
func RefuseWith(detail *pacav1.ErrorDetail, format string, args ...any) error {
	err := connect.NewError(codes[detail.Code], fmt.Errorf(format, args...))
	d, detailErr := connect.NewErrorDetail(detail)
	if detailErr != nil {
		return errors.Join(err, detailErr)
	}
	err.AddDetail(d)
	return err
}

// Detail takes out of an error what Refuse put in. It is nil if the error comes
// from elsewhere.
func Detail(err error) *pacav1.ErrorDetail {
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return nil
	}
	for _, d := range refused.Details() {
		if v, err := d.Value(); err == nil {
			if detail, ok := v.(*pacav1.ErrorDetail); ok {
				return detail
			}
		}
	}
	return nil
}
