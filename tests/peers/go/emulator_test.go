// Starts the emulator's program for Google's own Go connectors, which run unmodified against it.

package peers

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// emulator is the running program.
type emulator struct {
	url, grpc      string
	user, password string
	control        string
	bearer         string
	instances      []instance
}

// ready is the line that the program prints.
type ready struct {
	URL     string `json:"url"`
	GRPC    string `json:"grpc"`
	CA      string `json:"ca"`
	Control struct {
		URL    string `json:"url"`
		Bearer string `json:"bearer"`
	} `json:"control"`
	Users []struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	} `json:"users"`
	Env       map[string]string `json:"env"`
	Instances []instance        `json:"instances"`
}

// instance is one that runs.
type instance struct {
	Name      string            `json:"name"`
	Addresses map[string]string `json:"addresses"`
	PSC       string            `json:"psc_dns_name"`
}

// session is a connection as the emulator saw it.
type session struct {
	Instance    string  `json:"instance"`
	Server      string  `json:"server"`
	Certificate *string `json:"certificate"`
	User        string  `json:"user"`
	Principal   string  `json:"principal"`
	AuthType    string  `json:"auth_type"`
	UserAgent   string  `json:"user_agent"`
	Seen        bool    `json:"certificate_seen"`
	Received    int     `json:"received"`
}

var (
	once    sync.Once
	running *emulator
	failure error
)

// start starts the one emulator of this process, whose environment is this process's from then on. It ends with us.
func start(t *testing.T) *emulator {
	t.Helper()
	once.Do(func() { running, failure = launch() })
	if failure != nil {
		t.Fatal(failure)
	}
	return running
}

func launch() (*emulator, error) {
	program := os.Getenv("IAMSQL_EMULATOR_PROGRAM")
	if program == "" {
		program = "../../../target/debug/iamsql-emulator"
	}
	arguments := []string{"--exit-with-parent", "--instance", enterprise, "--instance", developer + "?edition=developer",
		"--instance", alloydb + "?address=both&address=psc", "--instance", readPool + "?address=private"}
	command := exec.Command(program, arguments...)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var told ready
	if err := json.Unmarshal(line, &told); err != nil {
		return nil, err
	}
	for name, value := range told.Env {
		if value == "" {
			os.Unsetenv(name)
		} else {
			os.Setenv(name, value)
		}
	}
	// What Go trusts, read once, when the first connection is made.
	directory, err := os.MkdirTemp("", "iamsql-peers-")
	if err != nil {
		return nil, err
	}
	roots := filepath.Join(directory, "roots.pem")
	if err := os.WriteFile(roots, []byte(told.CA), 0o600); err != nil {
		return nil, err
	}
	os.Setenv("SSL_CERT_FILE", roots)
	return &emulator{
		url: told.URL, grpc: told.GRPC,
		user: told.Users[0].Name, password: told.Users[0].Password,
		control: told.Control.URL, bearer: told.Control.Bearer,
		instances: told.Instances,
	}, nil
}

// lastSession is the newest connection to an instance.
func (e *emulator) lastSession(t *testing.T, instance string) session {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, e.control+"/sessions", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+e.bearer)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var all []session
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Instance == instance {
			return all[i]
		}
	}
	t.Fatalf("nobody came to %s", instance)
	return session{}
}
