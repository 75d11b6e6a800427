package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// serve answers every request with a name, until it cannot.
func serve(name, addresses string) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, name)
	})
	failed := make(chan error)
	for _, a := range strings.Split(addresses, ",") {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(l, handler) }()
	}
	return <-failed
}
