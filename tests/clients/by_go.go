// Does the jobs on standard input with Go's net/http; prints what it saw. TRUST is a CA's file,
// or empty to verify nothing.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type job struct {
	Urls  []string `json:"urls"`
	Proxy string   `json:"proxy"`
}

type seen struct {
	Code    *int              `json:"code"`
	Error   string            `json:"error"`
	Body    string            `json:"body"`
	Headers map[string]string `json:"headers"`
}

var compared = []string{"Proxy-Authenticate", "Proxy-Status", "Retry-After", "X-Sim-Error"}

func page(client *http.Client, address string) seen {
	got, err := client.Get(address)
	if err != nil {
		return failure(nil, err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return failure(&got.StatusCode, err)
	}
	headers := map[string]string{}
	for _, name := range compared {
		if value := got.Header.Get(name); value != "" {
			headers[strings.ToLower(name)] = value
		}
	}
	return seen{Code: &got.StatusCode, Body: fmt.Sprintf("%x", sha256.Sum256(body)), Headers: headers}
}

// The type alone: the text of an error has the client's own port.
func failure(code *int, err error) seen {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return seen{Code: code, Error: fmt.Sprintf("%T", err), Headers: map[string]string{}}
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		panic(err)
	}
	trust := &tls.Config{InsecureSkipVerify: os.Getenv("TRUST") == ""}
	if pem, err := os.ReadFile(os.Getenv("TRUST")); err == nil {
		trust.RootCAs = x509.NewCertPool()
		trust.RootCAs.AppendCertsFromPEM(pem)
	}
	found := [][]seen{}
	for _, each := range jobs {
		proxy, err := url.Parse(each.Proxy)
		if err != nil {
			panic(err)
		}
		transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: trust}
		client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
		pages := []seen{}
		for _, address := range each.Urls {
			pages = append(pages, page(client, address))
		}
		found = append(found, pages)
		transport.CloseIdleConnections()
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
