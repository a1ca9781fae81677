import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.*;
import org.hl7.fhir.common.hapi.validation.support.*;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import java.nio.file.*;
import java.util.*;
import java.util.stream.*;

/** Validates files with HL7's validator: Validate DEFINITIONS-FOLDER FILE-OF-PATHS. A JSON line for each file. */
public class Validate {
  public static void main(String[] args) throws Exception {
    FhirContext context = FhirContext.forR4();
    PrePopulatedValidationSupport loaded = new PrePopulatedValidationSupport(context);
    try (Stream<Path> files = Files.list(Path.of(args[0]))) {
      for (Path file : files.filter(p -> p.getFileName().toString().matches("(StructureDefinition|ValueSet|CodeSystem)-.*json")).sorted().toList()) {
        IBaseResource resource = context.newJsonParser().parseResource(Files.readString(file));
        loaded.addResource(resource);
      }
    }
    ValidationSupportChain chain = new ValidationSupportChain(
        new DefaultProfileValidationSupport(context), loaded,
        new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context),
        new SnapshotGeneratingValidationSupport(context),
        new UnknownCodeSystemWarningValidationSupport(context));
    FhirInstanceValidator module = new FhirInstanceValidator(new CachingValidationSupport(chain));
    module.setAnyExtensionsAllowed(true);
    FhirValidator validator = context.newValidator().registerValidatorModule(module);
    for (String path : Files.readAllLines(Path.of(args[1]))) {
      StringBuilder line = new StringBuilder("{\"file\":" + quote(path) + ",\"messages\":[");
      long begin = System.nanoTime();
      String sep = "";
      try {
        for (SingleValidationMessage m : validator.validateWithResult(Files.readString(Path.of(path))).getMessages()) {
          line.append(sep).append("{\"severity\":").append(quote(m.getSeverity().getCode())).append(",\"id\":").append(quote(m.getMessageId()))
            .append(",\"at\":").append(quote(m.getLocationString())).append(",\"text\":").append(quote(m.getMessage())).append("}");
          sep = ",";
        }
      } catch (Exception e) { line.append("{\"severity\":\"fatal\",\"id\":\"exception\",\"at\":\"\",\"text\":" + quote(String.valueOf(e)) + "}"); }
      System.out.println(line + "],\"ns\":" + (System.nanoTime() - begin) + "}");
    }
  }
  private static String quote(String s) {
    if (s == null) return "\"\"";
    StringBuilder b = new StringBuilder("\"");
    for (char c : s.toCharArray()) {
      if (c == '"' || c == '\\') b.append('\\').append(c);
      else if (c < 32) b.append(String.format("\\u%04x", (int) c));
      else b.append(c);
    }
    return b.append('"').toString();
  }
}
