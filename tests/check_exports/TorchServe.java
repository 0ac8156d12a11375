import java.io.File;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.LinkedBlockingDeque;
import org.apache.commons.cli.DefaultParser;
import org.pytorch.serve.archive.model.Manifest;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelConfig;
import org.pytorch.serve.archive.utils.ArchiveUtils;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.Model;

/**
 * Prints what TorchServe reads from a model-config.yaml, and how many of a hundred queued requests
 * it takes into a batch with that maxBatchDelay and with none.
 */
public final class TorchServe {
    public static void main(String[] arguments) throws Exception {
        String[] options = {"--python", "python3", "--model-store", "."};
        ConfigManager.init(
                new ConfigManager.Arguments(
                        new DefaultParser()
                                .parse(ConfigManager.Arguments.getOptions(), options, null, false)));
        ModelConfig config = ModelConfig.build(ArchiveUtils.readYamlFile(new File(arguments[0])));
        System.out.println("minWorkers=" + config.getMinWorkers());
        System.out.println("maxWorkers=" + config.getMaxWorkers());
        System.out.println("batchSize=" + config.getBatchSize());
        System.out.println("maxBatchDelay=" + config.getMaxBatchDelay());
        System.out.println("jobQueueSize=" + config.getJobQueueSize());
        System.out.println("responseTimeout=" + config.getResponseTimeout());
        System.out.println("deviceType=" + config.getDeviceType());
        System.out.println("deviceIds=" + config.getDeviceIds());
        System.out.println("batch=" + batch(config.getBatchSize(), config.getMaxBatchDelay()));
        System.out.println("batchWithoutDelay=" + batch(config.getBatchSize(), 0));
    }

    private static int batch(int size, int delayMs) throws Exception {
        Manifest manifest = new Manifest();
        manifest.setModel(new Manifest.Model());
        Model model = new Model(new ModelArchive(manifest, "none", new File("."), false), 100);
        model.setBatchSize(size);
        model.setMaxBatchDelay(delayMs);
        LinkedBlockingDeque<Job> queue = new LinkedBlockingDeque<>();
        for (int i = 0; i < 100; ++i) {
            RequestInput input = new RequestInput("request-" + i);
            input.setClientExpireTS(3_600_000);
            queue.add(new Waiting(input));
        }
        Map<String, Job> taken = new HashMap<>();
        model.pollInferJob(taken, size, queue);
        return taken.size();
    }

    private static final class Waiting extends Job {
        Waiting(RequestInput input) {
            super("model", "1.0", WorkerCommands.PREDICT, input);
        }

        @Override
        public void response(
                byte[] body, CharSequence type, int code, String phrase, Map<String, String> headers) {}

        @Override
        public void sendError(int status, String error) {}

        @Override
        public boolean isOpen() {
            return true;
        }
    }
}
