// Package monitors asks what monitoring tools ask, and reads the answers into the types that they have for them: a whole
// number that comes as a fraction, or an object that comes as a list, is an error here as it is there.
package monitors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"
)

const deadline = 15 * time.Second // rates are there after two samples, which are taken every 5 s

// MANAGEMENT_URL says where another broker's API is, to see what the reference does.
var api = "http://127.0.0.1:15672/api"

func init() {
	if given := os.Getenv("MANAGEMENT_URL"); given != "" {
		api = given + "/api"
	}
}

func request(t *testing.T, method, path, body string) []byte {
	t.Helper()
	request, err := http.NewRequest(method, api+path, bytes.NewBufferString(body))
	no(t, err)
	request.SetBasicAuth("guest", "guest")
	response, err := http.DefaultClient.Do(request)
	no(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	no(t, err)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		t.Fatalf("%s %s: %s %s", method, path, response.Status, answer)
	}
	return answer
}

func read[T any](t *testing.T, path string) T {
	t.Helper()
	var value T
	no(t, json.Unmarshal(request(t, "GET", path, ""), &value))
	return value
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func holds(t *testing.T, what string, condition bool) {
	t.Helper()
	if !condition {
		t.Fatal(what)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("%s: not so within %v", what, deadline)
}

// queueOf declares a queue; its end deletes it.
func queueOf(t *testing.T, vhost, name string) {
	t.Helper()
	path := "/queues/" + vhost + "/" + name
	request(t, "PUT", path, `{"durable":true}`)
	t.Cleanup(func() { request(t, "DELETE", path, "") })
}

func publish(t *testing.T, vhost, queue string, count int) {
	t.Helper()
	body := fmt.Sprintf(`{"properties":{"timestamp":1700000000},"routing_key":%q,"payload":"hare","payload_encoding":"string"}`, queue)
	for range make([]struct{}, count) {
		request(t, "POST", "/exchanges/"+vhost+"/amq.default/publish", body)
	}
}

func get(t *testing.T, vhost, queue string, count int) {
	t.Helper()
	body := fmt.Sprintf(`{"count":%d,"ackmode":"ack_requeue_false","encoding":"auto"}`, count)
	request(t, "POST", "/queues/"+vhost+"/"+queue+"/get", body)
}
