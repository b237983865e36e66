package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgres       = enterprise
	alloydb        = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary"
	readPool       = "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-read-pool"
	serviceAccount = "cloudsql-client@your-project-id.iam.gserviceaccount.com"
	iamUser        = user
	human          = "jane@example.com"
)

// control calls a control endpoint of the emulator.
func control(t *testing.T, method, path string, body, answer any) {
	t.Helper()
	emulator := start(t)
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, emulator.control+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+emulator.bearer)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s %v", method, path, response.Status, content, err)
	}
	if answer != nil {
		if err := json.Unmarshal(content, answer); err != nil {
			t.Fatal(err)
		}
	}
}

// last is the newest connection to an instance.
func last(t *testing.T, instance string) session {
	t.Helper()
	return start(t).lastSession(t, instance)
}

// present makes an instance present another server certificate until the end of the test.
func present(t *testing.T, instance, certificate string) {
	t.Helper()
	path := "/instances/" + url.PathEscape(instance)
	control(t, http.MethodPatch, path, map[string]string{"certificate": certificate}, nil)
	t.Cleanup(func() {
		control(t, http.MethodPatch, path, map[string]string{"certificate": "genuine"}, nil)
	})
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// currentUser logs in with pgx over dial and asks the database who that is.
func currentUser(
	ctx context.Context, user, password string, dial func(context.Context) (net.Conn, error),
) (string, error) {
	config, err := pgx.ParseConfig("host=localhost dbname=mydb sslmode=disable")
	if err != nil {
		return "", err
	}
	config.User, config.Password = user, password
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	defer connection.Close(ctx)
	var name string
	err = connection.QueryRow(ctx, "SELECT current_user").Scan(&name)
	return name, err
}
