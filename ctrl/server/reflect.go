package server

import (
	"net/http"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"paca/ctrl/api/paca/v1/pacav1connect"
)

// reflection tells gRPC tools like grpcurl what may be called, in both versions of
// that protocol.
func reflection(mux *http.ServeMux, options ...connect.HandlerOption) {
	r := grpcreflect.NewStaticReflector(pacav1connect.ControlName)
	mux.Handle(grpcreflect.NewHandlerV1(r, options...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(r, options...))
}
