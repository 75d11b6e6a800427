package api

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
)

// codes says which Connect code each error code travels under.
var codes = map[pacav1.ErrorCode]connect.Code{
	pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR: connect.CodeInvalidArgument,
}

// Refuse makes the error of a refused request. The rule, "W4", may be empty.
func Refuse(code pacav1.ErrorCode, field, rule, format string, args ...any) error {
	err := connect.NewError(codes[code], fmt.Errorf(format, args...))
	detail, detailErr := connect.NewErrorDetail(&pacav1.ErrorDetail{Code: code, Field: field, Rule: rule})
	if detailErr != nil {
		return errors.Join(err, detailErr)
	}
	err.AddDetail(detail)
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
